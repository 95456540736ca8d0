package pane

import (
	"context"

	"github.com/gridloom/gridloom"
)

// WriteExpired stores readings that came when their time was past retention already. The
// segment has the form of a raw one; nothing is ever folded from it.
func (s *Store) WriteExpired(ctx context.Context, where Where, rows []gridloom.Reading) (Segment, error) {
	return s.writeRaw(ctx, where, KindExpired, columnsOf(rows), &Ranking{})
}

// ReadExpired reads what WriteExpired wrote, as ReadRaw does.
func (s *Store) ReadExpired(ctx context.Context, seg Segment, sel Selector, fn func(*gridloom.Reading) error) error {
	return s.readRows(ctx, seg, KindExpired, &sel, func(data []byte) (tally, error) {
		return decodeRaw(ctx, s.mem, data, &sel, fn)
	})
}
