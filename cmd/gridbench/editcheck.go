package main

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strconv"

	"github.com/gridloom/gridloom"
)

// editFindings are what a checker counts of edits. All but the first two must be 0.
type editFindings struct {
	Edits           int64 `json:"edits"`            // in the audit trail, undos included
	EditsUnanswered int64 `json:"edits_unanswered"` // of them, those whose answer did not come
	EditsLost       int64 `json:"edits_lost"`       // answered and not in the audit trail
	EditsDuplicated int64 `json:"edits_duplicated"` // more than once in it
	EditsAltered    int64 `json:"edits_altered"`    // not as they were asked for
}

func (f *editFindings) clean() bool { return f.EditsLost+f.EditsDuplicated+f.EditsAltered == 0 }

// servedEdit is one row of /api/v1/edits.
type servedEdit struct {
	Edit     uint64 `json:"edit"`
	Why      string `json:"why"`
	Meter    string `json:"meter"`
	Readings int    `json:"readings"`
	Undoes   uint64 `json:"undoes"`    // 0 if null
	UndoneBy uint64 `json:"undone_by"` // 0 if null
}

// settleEdits compares the audit trail with what was answered, and keeps for each meter what
// its edits say in the end: an unanswered edit was made if the trail has it. Then its rows must be there as well.
func (c *checker) settleEdits(ctx context.Context, answered, unanswered []edit) error {
	byWhy := map[string]edit{}
	for _, e := range slices.Concat(answered, unanswered) {
		byWhy[e.Why] = e
	}
	made := map[uint64]edit{}
	undoneBy := map[uint64]uint64{}
	trail := map[uint64]servedEdit{}
	idOf := map[string]uint64{}
	before := uint64(0)
	for {
		q := url.Values{"limit": {"1000"}}
		if before != 0 {
			q.Set("before", strconv.FormatUint(before, 10))
		}
		n := 0
		err := rows(ctx, c.api, "/api/v1/edits", q, func(r *servedEdit) error {
			n++
			before = r.Edit
			e, known := byWhy[r.Why]
			earlier, again := idOf[r.Why]
			switch _, twice := trail[r.Edit]; {
			case !known || e.Meter != r.Meter || e.Undoes != r.Undoes || e.Undoes == 0 && len(e.Rows) != r.Readings:
				c.trail.EditsAltered++
				c.note("edit %d (%q of %s) was never asked for like that", r.Edit, r.Why, r.Meter)
			case twice, again && e.ID == 0, e.ID != 0 && e.ID != r.Edit:
				c.trail.EditsDuplicated++
				c.note("edit %q of %s is there as %d and as %d", r.Why, r.Meter, r.Edit, cmp.Or(earlier, e.ID))
			}
			trail[r.Edit], made[r.Edit], idOf[r.Why] = *r, e, r.Edit
			if r.Undoes != 0 {
				undoneBy[r.Undoes] = r.Edit // newest first: the first one stays
			}
			return nil
		})
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
	}
	for _, e := range answered {
		if _, ok := trail[e.ID]; !ok {
			c.trail.EditsLost++
			c.note("edit %d (%q of %s) is lost", e.ID, e.Why, e.Meter)
		}
	}
	c.edits = map[string][]edit{}
	for id, e := range made {
		if e.ID == 0 {
			c.trail.EditsUnanswered++
		}
		c.trail.Edits++
		if got := trail[id].UndoneBy; got != undoneBy[id] {
			c.trail.EditsAltered++
			c.note("edit %d is told to be undone by %d, and %d undoes it", id, got, undoneBy[id])
		}
		if e.ID = id; e.Undoes == 0 && undoneBy[id] == 0 {
			c.edits[e.Meter] = append(c.edits[e.Meter], e)
		}
	}
	return nil
}

// overlay lets the edits of a meter say what its readings are: of several the latest.
func (c *checker) overlay(meter string, group map[seriesKey]map[spot]*candidate) error {
	list := c.edits[meter]
	slices.SortFunc(list, func(a, b edit) int { return int(int64(a.ID) - int64(b.ID)) })
	for _, e := range list {
		for _, row := range e.Rows {
			k, err := keyOf(meter, row.Register)
			if err != nil {
				return err
			}
			want, _ := candidateOf(group, entry{meter: meter, register: k.register, start: row.Start, length: row.Length})
			want.value, want.withdrawn, want.sure, want.others = row.Value, row.Void, true, nil
			want.order = gridloom.NewOrder(gridloom.ClassEdit, 0, 0)
		}
	}
	return nil
}
