package decode

import (
	"fmt"
	"strings"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// topicRoot is what every topic of gridloom begins with: name and version.
const topicRoot = "gridloom/v1/"

// maxTopicDepth is the greatest number of levels of a topic.
const maxTopicDepth = 8

// ParseTopic takes gridloom/v1/<site>/<agent>/<leaf> apart. The leaf may have
// levels of its own: readings, state, ack, cmd/... Other topics are ErrInvalid.
func ParseTopic(topic string) (site, agent, leaf string, err error) {
	rest, ok := strings.CutPrefix(topic, topicRoot)
	if !ok {
		return "", "", "", notTopic(topic, "it does not begin with "+topicRoot)
	}
	if strings.Count(topic, "/") >= maxTopicDepth {
		return "", "", "", notTopic(topic, fmt.Sprintf("it has more than %d levels", maxTopicDepth))
	}
	site, rest, _ = strings.Cut(rest, "/")
	agent, leaf, _ = strings.Cut(rest, "/")
	if leaf == "" || strings.ContainsAny(leaf, "+#\x00") {
		return "", "", "", notTopic(topic, "it names no leaf such as readings")
	}
	if err := wire.CheckAgent("site", site); err != nil {
		return "", "", "", notTopic(topic, wire.Detail(err))
	}
	if err := wire.CheckAgent("agent", agent); err != nil {
		return "", "", "", notTopic(topic, wire.Detail(err))
	}
	return site, agent, leaf, nil
}

// notTopic is the error of a topic, cut to a length that fits a log line.
func notTopic(topic, why string) error {
	return fmt.Errorf("%w: topic %q: %s; want gridloom/v1/<site>/<agent>/readings", gridloom.ErrInvalid, topic[:min(len(topic), 256)], why)
}
