package ingest

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"github.com/gridloom/gridloom/ingest/decode"
)

// topicRoot begins every topic that clients may use.
const topicRoot = "gridloom/v1/"

// kind is what a topic is for.
type kind uint8

const (
	foreign  kind = iota // nothing that clients publish
	readings             // into the log
	state                // retained and handed on by the broker
	others               // of another agent than the connection's
)

// route is what a topic means for a connection.
type route struct {
	kind        kind
	site, agent string
	problem     string // why it is foreign or another's, for the reject
}

// routeOf reads a topic for a connection that may publish under agent ("" for any).
func routeOf(topic, agent string) route {
	site, name, leaf, err := decode.ParseTopic(topic)
	if err != nil {
		return route{kind: foreign, problem: err.Error()}
	}
	r := route{site: site, agent: name}
	switch leaf {
	case "readings":
		r.kind = readings
	case "state":
		r.kind = state
	default:
		r.problem = "clients publish to readings and state only"
		return r
	}
	if agent != "" && agent != name {
		r.kind, r.problem = others, "this connection belongs to agent "+agent
	}
	return r
}

// mayRead reports whether clients may subscribe to filter: everything below
// gridloom/v1/, by a shared subscription too.
func mayRead(filter string) bool {
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		_, filter, _ = strings.Cut(rest, "/")
	}
	return strings.HasPrefix(filter, topicRoot)
}

// credentials is what a CONNECT proves, or claims.
type credentials struct {
	certificate string // common name of the verified client certificate
	username    string
	password    []byte
}

// agentOf decides under which agent a connection publishes. With configured users
// the password must be right. A verified certificate names the agent by its common
// name, else the username does. Without either the connection is nobody's and may
// publish for any agent, as a bridge from another broker does: an open listener has
// nothing that a client could not also say of itself, so a rule on client ids would
// only refuse the honest.
func agentOf(users map[string]string, c credentials) (agent string, ok bool) {
	if len(users) > 0 {
		want, known := users[c.username]
		got, expect := sha256.Sum256(c.password), sha256.Sum256([]byte(want))
		if subtle.ConstantTimeCompare(got[:], expect[:]) != 1 || !known {
			return "", false
		}
	}
	if c.certificate != "" {
		return c.certificate, true
	}
	return c.username, true
}
