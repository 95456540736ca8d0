package aggregate

import (
	"context"
	"fmt"

	"github.com/gridloom/gridloom/internal/pane"
)

// eachSegment calls f for the segments of a kind that may hold rows that sel chooses,
// in the order in which they were committed.
func (p *partition) eachSegment(ctx context.Context, kind pane.Kind, sel pane.Selector, f func(pane.Segment) error) error {
	for seg, err := range p.store.Segments(ctx, p.manifest, kind, sel) {
		if err != nil {
			return fmt.Errorf("manifest %s: %w", p.head.Manifest.Path, err)
		}
		if err := f(seg); err != nil {
			return err
		}
	}
	return nil
}
