package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/pane"
)

// surveyTries is how often a store is looked at anew because its owner deleted files meanwhile.
const surveyTries = 3

// whyUnnamed tells a person why files that are not in use are still there.
var whyUnnamed = map[pane.Unnamed]string{
	pane.UnnamedBefore:  "of the manifests before: the last three are kept for repair",
	pane.UnnamedOwn:     "of this owner: replaced within 15 min, or of a commit under way",
	pane.UnnamedEarlier: "left by an earlier owner: deleted within half an hour",
	pane.UnnamedLater:   "of a later owner than the head says: nothing is deleted",
	pane.UnnamedForeign: "not written by gridloom: never deleted",
}

// inspectStore prints what takes the space of a store.
func inspectStore(ctx context.Context, c *inspectConfig, stdout io.Writer) error {
	if c.file != "" {
		c.data = c.file
	}
	disk := blob.ViewDir(filepath.Join(c.data, "store"), blob.OS{})
	var surveys []*pane.Survey
	for try := 1; ; try++ {
		heads, err := headsOf(ctx, c)
		if err != nil {
			return err
		}
		surveys, err = surveyAll(ctx, pane.NewStore(disk, pane.StoreOptions{CacheBytes: -1}), heads)
		if err == nil {
			break
		}
		if !errors.Is(err, gridloom.ErrNotFound) || try == surveyTries {
			return err
		}
	}
	if c.json {
		return printSurveyJSON(surveys, stdout)
	}
	return printSurvey(surveys, stdout)
}

// headsOf asks for the heads whoever can read them.
func headsOf(ctx context.Context, c *inspectConfig) ([]gridloom.Head, error) {
	var text bytes.Buffer
	ask := inspectConfig{data: c.data, partition: c.partition, count: 1, json: true}
	if err := inspectLive(ctx, "head", &ask, &text); err != nil {
		return nil, err
	}
	var heads []gridloom.Head
	for in := json.NewDecoder(&text); ; {
		var h gridloom.Head
		switch err := in.Decode(&h); {
		case errors.Is(err, io.EOF):
			return heads, nil
		case err != nil:
			return nil, fmt.Errorf("heads of %s: %w", c.data, err)
		}
		heads = append(heads, h)
	}
}

func surveyAll(ctx context.Context, store *pane.Store, heads []gridloom.Head) ([]*pane.Survey, error) {
	surveys := make([]*pane.Survey, 0, len(heads))
	for _, h := range heads {
		v, err := store.Survey(ctx, h)
		if err != nil {
			return nil, fmt.Errorf("partition %d: %w", h.Partition, err)
		}
		surveys = append(surveys, v)
	}
	return surveys, nil
}

// storeLine is a line of `inspect store --json`.
type storeLine struct {
	Partition *int     `json:"partition,omitempty"` // absent in a total
	Kind      string   `json:"kind"`
	Level     *int     `json:"level,omitempty"` // of segments in use
	InUse     bool     `json:"in_use"`          // named by the head's manifest
	Why       string   `json:"why,omitempty"`   // is a file there that is not
	Files     int      `json:"files"`           //
	Bytes     int64    `json:"bytes"`           //
	Rows      int64    `json:"rows,omitempty"`  //
	PerRow    *float64 `json:"bytes_per_row,omitempty"`
	From      string   `json:"from,omitempty"` // event time
	To        string   `json:"to,omitempty"`   // exclusive
	Oldest    string   `json:"oldest,omitempty"`
	KeptFrom  string   `json:"kept_from,omitempty"` // what starts before is past retention
}

func lineOf(v *pane.Survey, l *pane.SurveyLine) storeLine {
	o := storeLine{Partition: &v.Partition, Kind: l.Kind, InUse: l.Why == "", Why: string(l.Why), Files: l.Files, Bytes: l.Bytes, Rows: l.Rows}
	o.Oldest = l.Oldest.UTC().Format(time.RFC3339)
	if l.Rows > 0 {
		per := float64(l.Bytes) / float64(l.Rows)
		o.PerRow, o.Level = &per, &l.Level
	}
	if l.To > 0 {
		o.From, o.To = l.From.String(), l.To.String()
	}
	from := map[string]gridloom.Millis{string(pane.KindRaw): v.Bounds.RawFrom, string(pane.KindPane): v.Bounds.PanesFrom}[l.Kind]
	if from > 0 && o.InUse {
		o.KeptFrom = from.String()
	}
	return o
}

func printSurveyJSON(surveys []*pane.Survey, w io.Writer) error {
	out := json.NewEncoder(w)
	for _, v := range surveys {
		for _, lines := range [][]pane.SurveyLine{v.Named, v.Unnamed} {
			for i := range lines {
				if err := out.Encode(lineOf(v, &lines[i])); err != nil {
					return err
				}
			}
		}
	}
	for _, t := range totals(surveys) {
		if err := out.Encode(t); err != nil {
			return err
		}
	}
	return nil
}

// totals sums the partitions: files in use by kind, and those that are not.
func totals(surveys []*pane.Survey) []storeLine {
	var sums []storeLine
	add := func(kind string, inUse bool, l *pane.SurveyLine) {
		i := 0
		for i < len(sums) && (sums[i].Kind != kind || sums[i].InUse != inUse) {
			i++
		}
		if i == len(sums) {
			sums = append(sums, storeLine{Kind: kind, InUse: inUse})
		}
		s := &sums[i]
		s.Files, s.Bytes, s.Rows = s.Files+l.Files, s.Bytes+l.Bytes, s.Rows+l.Rows
	}
	for _, v := range surveys {
		for i := range v.Named {
			add(v.Named[i].Kind, true, &v.Named[i])
		}
	}
	for _, v := range surveys {
		for i := range v.Unnamed {
			add("all", false, &v.Unnamed[i])
		}
	}
	for i := range sums {
		if s := &sums[i]; s.Rows > 0 {
			per := float64(s.Bytes) / float64(s.Rows)
			s.PerRow = &per
		}
	}
	return sums
}

func printSurvey(surveys []*pane.Survey, w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range surveys {
		fmt.Fprintf(t, "partition %d  epoch %d  next sequence %d  manifest %s\n", v.Partition, v.Head.Epoch, v.Head.NextSeq, orNone(v.Head.Manifest.Path))
		if v.Bounds.RawFrom > 0 {
			fmt.Fprintf(t, "  readings before %s are past retention\n", v.Bounds.RawFrom)
		}
		if v.Bounds.PanesFrom > 0 {
			fmt.Fprintf(t, "  panes before %s are past retention\n", v.Bounds.PanesFrom)
		}
		for i := range v.Named {
			printStoreLine(t, lineOf(v, &v.Named[i]))
		}
		for i := range v.Unnamed {
			printStoreLine(t, lineOf(v, &v.Unnamed[i]))
		}
	}
	fmt.Fprintln(t, "all partitions")
	for _, l := range totals(surveys) {
		if !l.InUse {
			l.Why = "not in use"
		}
		printStoreLine(t, l)
	}
	return t.Flush()
}

func printStoreLine(t io.Writer, l storeLine) {
	name := l.Kind
	if l.Level != nil {
		name = fmt.Sprintf("%s level %d", name, *l.Level)
	}
	cells := []string{"  " + name, fmt.Sprintf("%d files", l.Files), sizeText(l.Bytes)}
	if l.PerRow != nil {
		cells = append(cells, fmt.Sprintf("%d rows", l.Rows), fmt.Sprintf("%.2f bytes each", *l.PerRow))
	}
	if l.Why != "" || l.From != "" { // in the last column
		cells = append(cells, make([]string, 5-len(cells))...)
	}
	switch {
	case l.Why != "" && l.Partition == nil:
		cells = append(cells, l.Why)
	case l.Why != "":
		cells = append(cells, whyUnnamed[pane.Unnamed(l.Why)]+"; oldest "+l.Oldest)
	case l.From != "":
		cells = append(cells, l.From+" to "+l.To)
	}
	fmt.Fprintln(t, strings.Join(cells, "\t"))
}

// sizeText is a number of bytes for a person.
func sizeText(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 10<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 10<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
