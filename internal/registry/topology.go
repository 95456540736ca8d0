package registry

import (
	"fmt"
	"math"

	"github.com/gridloom/gridloom"
)

// MaxDepth bounds how many nodes lie one above the other.
const MaxDepth = 16

// Topology is the nodes of a registry by id.
type Topology map[string]Node

// Check returns what is wrong with a node's parents, given all nodes, itself included: one that is not
// there, a circle at some instant, or more than MaxDepth above it. Nil, or a kind of ErrInvalid.
func (t Topology) Check(id string) error {
	n := t[id]
	for i := range n.Parents {
		p := &n.Parents[i]
		if err := t.CheckParent(p.Node); err != nil {
			return err
		}
		if err := t.climb(id, p, p.From, until(p), 1); err != nil {
			return err
		}
	}
	return nil
}

// CheckParent returns ErrInvalid if there is no such node.
func (t Topology) CheckParent(node string) error {
	if _, ok := t[node]; !ok {
		return fmt.Errorf("%w: node %q is not in the registry: write it first", gridloom.ErrInvalid, node)
	}
	return nil
}

// climb follows the parents above id while they hold together in [from, to).
func (t Topology) climb(id string, p *Parent, from, to gridloom.Millis, depth int) error {
	if p.Node == id {
		return fmt.Errorf("%w: node %q hangs on itself from %s on, over %d other nodes", gridloom.ErrInvalid, id, from, depth-1)
	}
	if depth >= MaxDepth {
		return fmt.Errorf("%w: more than %d nodes lie above %q", gridloom.ErrInvalid, MaxDepth, id)
	}
	above := t[p.Node]
	for i := range above.Parents {
		q := &above.Parents[i]
		lo, hi := max(from, q.From), min(to, until(q))
		if lo >= hi {
			continue
		}
		if err := t.climb(id, q, lo, hi, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func until(p *Parent) gridloom.Millis {
	if p.To == 0 {
		return math.MaxInt64
	}
	return p.To
}

// Below reports whether something with these parents lies below a node at an instant. A circle, which two
// writers at once can make, ends at MaxDepth.
func (t Topology) Below(parents []Parent, node string, at gridloom.Millis) bool {
	for range MaxDepth + 1 {
		up := ParentAt(parents, at)
		if up == "" {
			return false
		}
		if up == node {
			return true
		}
		parents = t[up].Parents
	}
	return false
}
