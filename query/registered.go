package query

import (
	"context"
	"strings"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/registry"
)

// knownMeters chooses meters by what the registry says of them.
type knownMeters struct {
	want [][2]string     // labels: keys and values
	node string          // "" chooses all
	at   gridloom.Millis // when they lie below node

	meters map[string]registry.Meter
	nodes  registry.Topology
}

// knownMeters reads label=, node= and at=.
func (p *params) knownMeters() *knownMeters {
	p.known = append(p.known, "label")
	k := &knownMeters{node: p.one("node"), at: p.instant("at", "now")}
	for _, text := range p.values["label"] {
		key, value, ok := strings.Cut(text, ":")
		if !ok || key == "" || value == "" {
			p.fail("label", text, "want a key and a value, such as street:Dorpsweg")
		}
		k.want = append(k.want, [2]string{key, value})
	}
	if p.values.Has("at") && k.node == "" {
		p.fail("at", p.values.Get("at"), "it is when meters lie below a node: name that with node=")
	}
	return k
}

// load reads the registry.
func (k *knownMeters) load(ctx context.Context, s *Server, partial bool) error {
	all, err := s.versions(ctx, nil, 0, partial)
	if err != nil {
		return err
	}
	if k.meters, err = entriesOf(all, registry.ClassMeter, registry.ParseMeter); err != nil {
		return err
	}
	if k.node == "" {
		return nil
	}
	if k.nodes, err = entriesOf(all, registry.ClassNode, registry.ParseNode); err != nil {
		return err
	}
	if err := k.nodes.CheckParent(k.node); err != nil {
		return badParam("node", k.node, "GET /api/v1/registry/nodes lists those that there are")
	}
	return nil
}

// chooses reports whether a meter has the labels and lies below the node.
func (k *knownMeters) chooses(meter string) bool {
	m := k.meters[meter]
	for _, l := range k.want {
		if m.Labels[l[0]] != l[1] {
			return false
		}
	}
	return k.node == "" || k.nodes.Below(m.Parents, k.node, k.at)
}

// labels returns the labels of a meter as a list of key:value.
func (k *knownMeters) labels(meter string) cell {
	m := k.meters[meter].Labels
	list := make([]string, 0, len(m))
	for _, key := range registry.LabelKeys(m) {
		list = append(list, key+":"+m[key])
	}
	return cell{list: &list}
}
