package spool

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInspectShowsRecordsAndDamage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	fill(t, s, 0, 6)
	all := drain(t, s)
	s.Ack(&all[1])
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, segmentName(1))
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[all[2].end.offset+20] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var text, out bytes.Buffer
	if err := errors.Join(Inspect(&text, dir, false), Inspect(&out, file, true)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(text.String(), "\n"); n != 7 || !strings.Contains(text.String(), "DAMAGED") || !strings.Contains(text.String(), "acknowledged before index 3") {
		t.Errorf("Inspect prints\n%s", &text)
	}
	kinds := map[string]int{}
	acknowledged := 0
	for d := json.NewDecoder(&out); ; {
		var f Found
		if err := d.Decode(&f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		kinds[f.Kind]++
		if f.Acknowledged {
			acknowledged++
		}
	}
	if kinds["sealed"] != 3 || kinds["held"] != 2 || kinds["damaged"] != 1 || acknowledged != 2 {
		t.Errorf("Inspect of a file finds %v, %d acknowledged", kinds, acknowledged)
	}
}
