package decode

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// row tells a reading in one line, as docs/format/topics.md does.
func row(r *gridloom.Reading) string {
	s := fmt.Sprintf("%s %s %s", r.Meter, r.Register, r.Start)
	if r.Length != 0 {
		s += fmt.Sprintf(" length=%d", r.Length)
	}
	if r.Void {
		s += " void"
	} else {
		s += fmt.Sprintf(" %d", r.Value)
	}
	if r.Quality != 0 {
		s += " quality=" + r.Quality.String()
	}
	if r.Serial != "" {
		s += " serial=" + r.Serial
	}
	if r.Order != 0 {
		s += " order=" + r.Order.String()
	}
	return s
}

// lines tells all of a decoded message, refusals last.
func (d decoded) lines() string {
	var b strings.Builder
	for i := range d.Rows {
		b.WriteString(row(&d.Rows[i]) + "\n")
	}
	for _, x := range d.Bads {
		b.WriteString(strings.TrimSpace(x.Reason+" "+x.Place) + "\n")
	}
	return b.String()
}

// TestEveryExampleOfTheTopicsPage runs each JSON example against the rows under it.
func TestEveryExampleOfTheTopicsPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/format/topics.md")
	if err != nil {
		t.Fatal(err)
	}
	pairs := regexp.MustCompile("(?s)```json\n(.*?)\n```\n```rows\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if n := strings.Count(string(page), "```json"); n != len(pairs) || n < 6 {
		t.Fatalf("%d examples, %d of them with rows", n, len(pairs))
	}
	var d Decoder
	for _, p := range pairs {
		if diff := cmp.Diff(p[2], decode(&d, p[1]).lines()); diff != "" {
			t.Errorf("%s\n(-page +decoded):\n%s", p[1], diff)
		}
	}
}

// TestTopicsPageListsEveryReason: what can stand in a reject is on the page.
func TestTopicsPageListsEveryReason(t *testing.T) {
	page, err := os.ReadFile("../../docs/format/topics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range reasons {
		if !strings.Contains(string(page), "| `"+reason+"` | ") {
			t.Errorf("docs/format/topics.md does not list %s", reason)
		}
	}
}
