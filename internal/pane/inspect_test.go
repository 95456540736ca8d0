package pane

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

func TestDescribeSegmentSaysWhatIsInIt(t *testing.T) {
	s, _ := newStore(t, StoreOptions{})
	for _, seg := range writeOneOfEach(t, s) {
		data, err := s.fetch(t.Context(), string(seg.Kind), gridloom.FileRef{Path: seg.Path, CRC: seg.CRC})
		if err != nil {
			t.Fatal(err)
		}
		var text, object strings.Builder
		if err := DescribeSegment(&text, data, DescribeOptions{Rows: 2}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{string(seg.Kind), strconv.FormatInt(seg.Rows, 10), "register", "meter"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("%s is not in\n%s", want, text.String())
			}
		}
		if err := DescribeSegment(&object, data, DescribeOptions{JSON: true, Rows: -1}); err != nil {
			t.Fatal(err)
		}
		var facts struct {
			Rows   int64
			Sample []map[string]any
		}
		if err := json.Unmarshal([]byte(object.String()), &facts); err != nil || facts.Rows != seg.Rows || int64(len(facts.Sample)) != seg.Rows {
			t.Errorf("%v\n%s", err, object.String())
		}
		if err := DescribeSegment(&text, data[:len(data)-9], DescribeOptions{}); !errors.Is(err, gridloom.ErrCorrupt) {
			t.Errorf("cut: %v", err)
		}
	}
}

func TestDescribeManifestNamesItsFiles(t *testing.T) {
	m := Manifest{Format: 1, Head: gridloom.Head{Partition: 2, Epoch: 7}, Recent: []Segment{listed(0), listed(1)}}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, asJSON := range []bool{false, true} {
		var b strings.Builder
		if err := DescribeManifest(&b, data, DescribeOptions{JSON: asJSON}); err != nil {
			t.Fatal(err)
		}
		for _, g := range m.Recent {
			if !strings.Contains(b.String(), g.Path) {
				t.Errorf("%s is not in\n%s", g.Path, b.String())
			}
		}
	}
}

// page returns docs/format/segment.md.
func formatPage(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/format/segment.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestFormatPageHasTheQualityBits compares the page's table with the constants.
func TestFormatPageHasTheQualityBits(t *testing.T) {
	got := map[gridloom.Quality]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| (\\d+) \\| `([A-Z_]+)` \\|").FindAllStringSubmatch(formatPage(t), -1) {
		bit, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		got[1<<bit] = m[2]
	}
	want := map[gridloom.Quality]string{}
	for bit := range 32 {
		if name := gridloom.Quality(1 << bit).Names()[0]; !strings.HasPrefix(name, "BIT_") {
			want[1<<bit] = name
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestFormatPageHasTheColumns compares the page's tables with what is written.
func TestFormatPageHasTheColumns(t *testing.T) {
	doc := formatPage(t)
	for heading, fields := range map[string][]field{"## Raw segments": compactRawFields(), "## Pane segments": paneFields(), "## Snapshot segments": snapshotFields(), "## Record segments": recordFields()} {
		_, section, ok := strings.Cut(doc, heading+"\n")
		if !ok {
			t.Fatalf("no section %q", heading)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		var got, want [][2]string
		for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([^|]+) \\|").FindAllStringSubmatch(section, -1) {
			got = append(got, [2]string{m[1], m[2]})
		}
		for _, f := range fields {
			kind := f.physical.String()
			if f.logical != nil {
				kind = docType(f.logical.String())
			}
			if f.null {
				kind += ", NULL"
			}
			want = append(want, [2]string{f.name, kind})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", heading, diff)
		}
	}
}

// docType is the page's name of a logical type.
func docType(logical string) string {
	switch {
	case strings.HasPrefix(logical, "Timestamp"):
		return "TIMESTAMP(ms, UTC)"
	case strings.HasPrefix(logical, "Decimal"):
		return "DECIMAL(38, 0)"
	case strings.Contains(logical, "bitWidth=64, isSigned=true"):
		return "INT64"
	case strings.Contains(logical, "bitWidth=64"):
		return "UINT64"
	case strings.Contains(logical, "bitWidth=32"):
		return "UINT32"
	default:
		return "STRING"
	}
}

func TestSampleRowsAreComplete(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	r := randomReadings(rng, 1)[0]
	if got := len(sampleReading(&r)); got != len(rawFields()) {
		t.Errorf("a sample of a reading has %d columns, want %d", got, len(rawFields()))
	}
}
