package spool

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
)

// Found is what Inspect prints of a record, or of damage between records.
type Found struct {
	File         string           `json:"file"`
	Offset       int64            `json:"offset"`
	Bytes        int64            `json:"bytes"`
	Index        uint64           `json:"index,omitempty"`
	Kind         string           `json:"kind"` // sealed, held or damaged
	Epoch        uint32           `json:"epoch,omitempty"`
	Seq          uint32           `json:"seq,omitempty"`
	Readings     uint32           `json:"readings,omitempty"`
	At           *gridloom.Millis `json:"at_ms,omitempty"`
	Boot         string           `json:"boot,omitempty"`
	Acknowledged bool             `json:"acknowledged,omitempty"`
}

// Inspect prints what a spool directory holds, or one segment file of it, a line
// or a JSON object per record. It changes nothing and may be used while an agent
// runs: then the last record may look torn.
func Inspect(w io.Writer, path string, asJSON bool) error {
	s := &Spool{fs: blob.OS{}, dir: path}
	names := []string{path}
	info, err := s.fs.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		s.dir = filepath.Dir(path)
	} else if names, err = s.inspectDir(w, asJSON); err != nil {
		return err
	}
	cursor, _ := s.readCursor()
	out := json.NewEncoder(w)
	for _, name := range names {
		data, err := blob.ReadFile(s.fs, name, maxSegmentFile)
		if err != nil {
			return err
		}
		var found []Found
		holes := scan(data, 0, func(r *Record, from, to int64) {
			at := r.At
			found = append(found, Found{
				File: name, Offset: from, Bytes: to - from, Index: r.Index, Kind: map[Kind]string{Sealed: "sealed", Held: "held"}[r.Kind],
				Epoch: r.Epoch, Seq: r.Seq, Readings: r.Readings, At: &at, Boot: r.Boot, Acknowledged: r.Index < cursor,
			})
		})
		for _, h := range holes {
			found = append(found, Found{File: name, Offset: h.from, Bytes: h.to - h.from, Kind: "damaged"})
		}
		for i := range found {
			if asJSON {
				err = out.Encode(&found[i])
			} else {
				err = found[i].print(w)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// inspectDir prints what is known of the spool as a whole and lists its segments.
func (s *Spool) inspectDir(w io.Writer, asJSON bool) ([]string, error) {
	names, err := s.list("")
	if err != nil {
		return nil, err
	}
	var segments []string
	for _, name := range names {
		if _, ok := parseSegmentName(strings.TrimSuffix(name, damagedSuffix)); ok {
			segments = append(segments, s.path(name))
		}
	}
	if asJSON {
		return segments, nil
	}
	epoch, err := LoadEpoch(s.fs, s.dir)
	if err != nil {
		_, _ = fmt.Fprintf(w, "%v\n", err)
	}
	cursor := "none: all that is there will be sent"
	if index, err := s.readCursor(); err != nil {
		cursor = err.Error()
	} else if index > 0 {
		cursor = fmt.Sprintf("acknowledged before index %d", index)
	}
	_, err = fmt.Fprintf(w, "spool %s: %d files, epoch %d, cursor %s\n", s.dir, len(segments), epoch, cursor)
	return segments, err
}

func (f *Found) print(w io.Writer) error {
	if f.Kind == "damaged" {
		_, err := fmt.Fprintf(w, "%s offset %d: %d bytes are DAMAGED\n", filepath.Base(f.File), f.Offset, f.Bytes)
		return err
	}
	state := "waits"
	if f.Acknowledged {
		state = "acknowledged"
	}
	when := "sealed " + f.At.String()
	if f.Boot != "" {
		when = fmt.Sprintf("sealed %s after boot %s", (*f.At - gridloom.MinInstant).Duration(), f.Boot)
	}
	_, err := fmt.Fprintf(w, "%s offset %d: index %d, %s, batch %d/%d of %d readings, %d bytes, %s, %s\n",
		filepath.Base(f.File), f.Offset, f.Index, f.Kind, f.Epoch, f.Seq, f.Readings, f.Bytes, when, state)
	return err
}
