package query

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// auditEntry is one edit of the audit trail.
type auditEntry struct {
	editRecord
	id        uint64
	loggedAt  gridloom.Millis
	partition int
	undoneBy  uint64 // 0: nobody
}

// audit returns the edits of sorted meters, or of all (nil), that come after a place in the log and were logged at asOf or before
// (0: all), oldest first.
func (s *Server) audit(ctx context.Context, meters []string, after uint64, asOf gridloom.Millis, partial bool) (list []auditEntry, silent bool, err error) {
	var keys []string
	for _, m := range meters {
		keys = append(keys, pane.RecordKey("meter", m))
	}
	rows, silent, err := s.recordsAfter(ctx, pane.KindAudit, keys, after, asOf, partial)
	if err != nil {
		return nil, false, err
	}
	list = make([]auditEntry, len(rows))
	at := make(map[uint64]int, len(rows))
	for i := range rows {
		a := &list[i]
		if err := json.Unmarshal(rows[i].Body, &a.editRecord); err != nil {
			return nil, false, fmt.Errorf("%w: record of edit %d: %w", gridloom.ErrCorrupt, rows[i].Sequence, err)
		}
		a.id, a.loggedAt, a.partition = rows[i].Sequence, rows[i].LoggedAt, gridloom.PartitionOf(a.Meter, s.cfg.Partitions)
		at[a.id] = i
	}
	for i := range list { // by meter, and of one as the log has them
		if undone, ok := at[list[i].Undoes]; ok && list[i].Op == opUndo && list[undone].undoneBy == 0 {
			list[undone].undoneBy = list[i].id
		}
	}
	return list, silent, nil
}

// findEdit returns one edit and what became of it, or a problem that names the field.
func (s *Server) findEdit(ctx context.Context, field string, id uint64, meters []string, asOf gridloom.Millis) (*auditEntry, error) {
	list, _, err := s.audit(ctx, meters, id-1, asOf, false)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].id == id {
			return &list[i], nil
		}
	}
	return nil, &problem{
		kind: problemNotFound, status: http.StatusNotFound, parameter: field, value: strconv.FormatUint(id, 10),
		detail: fmt.Sprintf("%s: there is no edit %d", field, id), mend: "GET /api/v1/edits lists them",
	}
}

// undoOf takes every row of an edit back.
func (s *Server) undoOf(ctx context.Context, e *editForm) ([]change, error) {
	var meters []string
	if e.meter != "" {
		meters = []string{e.meter}
	}
	a, err := s.findEdit(ctx, "edit", e.undoes, meters, 0)
	if err != nil {
		return nil, err
	}
	conflict := func(detail, mend string) error {
		return &problem{kind: problemConflict, status: http.StatusConflict, parameter: "edit", value: strconv.FormatUint(e.undoes, 10), detail: "edit: " + detail, mend: mend}
	}
	switch {
	case a.Op == opUndo:
		return nil, conflict(fmt.Sprintf("%d is itself an undo, of %d", a.id, a.Undoes), "make that edit again")
	case a.undoneBy != 0:
		return nil, conflict(fmt.Sprintf("%d was undone by %d", a.id, a.undoneBy), "nothing is left to be done")
	}
	e.meter = a.Meter
	from, to, err := a.span()
	if err != nil {
		return nil, err
	}
	var registers []gridloom.RegisterID
	for _, code := range a.Registers {
		id, ok := gridloom.RegisterByName(code)
		if !ok {
			return nil, fmt.Errorf("%w: record of edit %d: register %q is not known here", gridloom.ErrCorrupt, a.id, code)
		}
		registers = append(registers, id)
	}
	var changes []change
	err = s.eachRow(ctx, a.Meter, registers, from, to, true, func(r *gridloom.Reading, _ bool) error {
		if r.Sequence == a.id && r.Order.Class() == gridloom.ClassEdit {
			changes = append(changes, change{row: gridloom.Reading{
				Meter: a.Meter, Register: r.Register, Start: r.Start, Length: r.Length, Void: true, Order: gridloom.NewUndo(a.id),
			}})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(changes) != a.Readings {
		return nil, conflict(fmt.Sprintf("%d of the %d readings of %d are past retention", a.Readings-len(changes), a.Readings, a.id), "what is past retention is final")
	}
	return changes, nil
}

// span returns where the rows of the edit start.
func (r *editRecord) span() (from, to gridloom.Millis, err error) {
	if from, err = gridloom.ParseInstant(r.From); err == nil {
		to, err = gridloom.ParseInstant(r.To)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%w: record of an edit of %s: %w", gridloom.ErrCorrupt, r.Meter, err)
	}
	return from, to, nil
}
