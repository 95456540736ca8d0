package pane

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gridloom/gridloom"
)

// Survey is what the files of one partition take, by what they are. It is made of what
// lies in the store, beside an owner or without one.
type Survey struct {
	Partition int
	Head      gridloom.Head // Path of Manifest is empty: nothing is committed
	Bounds    Bounds
	Named     []SurveyLine // in use, by kind and level
	Unnamed   []SurveyLine // not in use, by reason and kind
}

// SurveyLine sums files that are alike.
type SurveyLine struct {
	Kind   string
	Level  int
	Why    Unnamed // of files that are not in use
	Files  int
	Bytes  int64
	Rows   int64           // of those in use
	From   gridloom.Millis // event time of the rows
	To     gridloom.Millis // exclusive
	Oldest time.Time       // when the oldest file was written
}

// Unnamed says why a file that the head's manifest does not name is still there.
type Unnamed string

// Why a file is still there.
const (
	UnnamedBefore  Unnamed = "before"  // a manifest of before and what it names: kept for `gridloom repair head`, and 15 min for queries
	UnnamedOwn     Unnamed = "own"     // of the present owner: replaced less than 15 min ago, or of a commit under way
	UnnamedEarlier Unnamed = "earlier" // of an earlier owner: kept 15 min after the claim and after it was written
	UnnamedLater   Unnamed = "later"   // of a later owner than the head says: nothing is deleted
	UnnamedForeign Unnamed = "foreign" // not named as gridloom names its files: never deleted
)

// Survey looks at all files of a partition, whose head is given. It fails with
// ErrNotFound if files were deleted meanwhile: load the head again, then.
func (s *Store) Survey(ctx context.Context, head gridloom.Head) (*Survey, error) {
	v := &Survey{Partition: head.Partition, Head: head}
	list, err := s.Files(ctx, head.Generation, head.Partition)
	if err != nil {
		return nil, err
	}
	named, before := map[string]*Segment{}, map[string]bool{}
	if head.Manifest.Path != "" {
		m, err := s.ReadManifest(ctx, head.Manifest)
		if err != nil {
			return nil, err
		}
		v.Bounds = m.Bounds()
		named[head.Manifest.Path] = nil
		if err := s.Tree(ctx, m, func(path string, g *Segment) { named[path] = g }); err != nil {
			return nil, err
		}
	}
	there := map[string]bool{}
	for i := range list {
		there[list[i].Path] = true
		if n, ok := ParseName(list[i].Path); ok && n.Kind == "manifest" {
			if err := s.surveyBefore(ctx, list[i].Path, before); err != nil {
				return nil, err
			}
		}
	}
	for path := range named {
		if !there[path] {
			return nil, errors.Join(gridloom.ErrNotFound, errors.New(path+" is named and not there"))
		}
	}
	for i := range list {
		v.add(&list[i], named, before)
	}
	order := func(a, b SurveyLine) int {
		return cmp.Or(cmp.Compare(a.Why, b.Why), cmp.Compare(kindRank(a.Kind), kindRank(b.Kind)), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Level, b.Level))
	}
	slices.SortFunc(v.Named, order)
	slices.SortFunc(v.Unnamed, order)
	return v, nil
}

// surveyBefore notes what a manifest names whose files are all there; one of which some
// were deleted names nothing that is kept for it.
func (s *Store) surveyBefore(ctx context.Context, path string, before map[string]bool) error {
	m, err := s.PeekManifest(ctx, path)
	names := []string{path}
	if err == nil {
		err = s.Tree(ctx, m, func(path string, _ *Segment) { names = append(names, path) })
	}
	if errors.Is(err, gridloom.ErrNotFound) || errors.Is(err, gridloom.ErrCorrupt) {
		return nil
	}
	for _, path := range names {
		before[path] = true
	}
	return err
}

func kindRank(kind string) int {
	return slices.Index([]string{string(KindRaw), string(KindPane), string(KindExpired), string(KindRegistry), string(KindAudit), string(KindSnapshot), "list", "manifest"}, kind)
}

// add counts a file to the line that it belongs to.
func (v *Survey) add(f *FileInfo, named map[string]*Segment, before map[string]bool) {
	n, ok := ParseName(f.Path)
	line := SurveyLine{Kind: n.Kind}
	g, used := named[f.Path]
	switch {
	case used && g != nil:
		line.Level, line.Rows, line.From, line.To = g.Level, g.Rows, g.MinStart, g.MaxEnd
	case used:
	case !ok:
		line.Kind, line.Why = "?", UnnamedForeign
	case n.Epoch > v.Head.Epoch:
		line.Why = UnnamedLater
	case before[f.Path]:
		line.Why = UnnamedBefore
	case n.Epoch == v.Head.Epoch:
		line.Why = UnnamedOwn
	default:
		line.Why = UnnamedEarlier
	}
	lines := &v.Named
	if line.Why != "" {
		lines = &v.Unnamed
	}
	i := slices.IndexFunc(*lines, func(l SurveyLine) bool { return l.Kind == line.Kind && l.Level == line.Level && l.Why == line.Why })
	if i < 0 {
		i = len(*lines)
		line.Oldest = f.Modified
		*lines = append(*lines, line)
		(*lines)[i].Rows = 0
	}
	l := &(*lines)[i]
	l.Files++
	l.Bytes += f.Bytes
	l.Rows += line.Rows
	if g != nil && g.Kind != KindSnapshot {
		l.From, l.To = min(l.From, g.MinStart), max(l.To, g.MaxEnd)
	}
	if f.Modified.Before(l.Oldest) {
		l.Oldest = f.Modified
	}
}
