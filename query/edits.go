package query

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

// editTimeout bounds one edit, its reading of what is there included.
const editTimeout = 30 * time.Second

// maxEditRows bounds the readings that are looked at for one edit.
const maxEditRows = 250_000

// maxToldChanges bounds the changes that a record tells one by one; the rest stands in the raw rows of the edit's sequence.
const maxToldChanges = 200

// editRecord is what the audit trail says of an edit: the body of its record. Frozen but for
// fields that are added (docs/editing.md).
type editRecord struct {
	Who         string       `json:"who"`
	Why         string       `json:"why"`
	Op          editOp       `json:"op"`
	Meter       string       `json:"meter"`
	Registers   []string     `json:"registers"` // OBIS codes
	From        string       `json:"from"`      // of the readings that it touches: the first start
	To          string       `json:"to"`        // and after the last one
	Readings    int          `json:"readings"`
	Undoes      uint64       `json:"undoes,omitempty"`
	Cadence     string       `json:"cadence,omitempty"` // of estimate
	Changes     []editChange `json:"changes,omitempty"`
	ChangesLeft int          `json:"changes_left_out,omitempty"`
}

// editChange is one reading that an edit touches. Values are in the register's unit.
type editChange struct {
	Register string       `json:"register"` // alias
	At       string       `json:"at"`
	Length   string       `json:"length,omitempty"`
	Value    *json.Number `json:"value"`  // null: withdrawn
	Before   *json.Number `json:"before"` // null: there was none
}

// change is a row that an edit will have, and what counted there.
type change struct {
	row    gridloom.Reading
	before *gridloom.Reading // nil: nothing
}

// postEdit answers POST /edits: it makes one edit.
func (s *Server) postEdit(w http.ResponseWriter, r *http.Request) error {
	op, err := s.makeEdit(w, r)
	if err != nil {
		p := problemOf(err)
		s.metrics.editsRefused.WithLabelValues(string(p.kind)).Inc()
		if p.kind == problemParameter && p.mend == "" {
			p.mend = "docs/editing.md tells the form of an edit"
		}
		return p
	}
	s.metrics.edits.WithLabelValues(string(op)).Inc()
	return nil
}

func (s *Server) makeEdit(w http.ResponseWriter, r *http.Request) (editOp, error) {
	p := newParams(r.URL.RawQuery, s.cfg.Now(), &s.limits)
	if err := p.done(); err != nil {
		return "", err
	}
	f, err := readForm(w, r)
	if err != nil {
		return "", err
	}
	e, err := editRequest(f, s.cfg.Now())
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(r.Context(), editTimeout)
	defer cancel()
	leave, err := s.gate.take(ctx, s.editing, "edits") // one after the other: each sees what the one before did
	if err != nil {
		return "", err
	}
	defer leave()
	changes, err := s.changesOf(ctx, e)
	if err != nil {
		return "", err
	}
	rec := recordOf(e, changes)
	body, err := json.Marshal(rec)
	if err != nil {
		return "", err
	}
	var rows wire.Columns
	rows.Reset()
	for i := range changes {
		rows.AppendReading(&changes[i].row)
	}
	partition := gridloom.PartitionOf(e.meter, s.cfg.Partitions)
	seq, err := s.write(ctx, partition, wire.KindEdit, &rows, []wire.Record{{Key: pane.RecordKey("meter", e.meter), Body: body}})
	if err != nil {
		if asProblem(err) == nil && (errors.Is(err, gridloom.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)) {
			return "", &problem{
				kind: problemUnavailable, status: http.StatusServiceUnavailable, detail: err.Error(), retry: 2, cause: err,
				mend: "the edit may have been made all the same: look at GET /api/v1/edits before you make it again",
			}
		}
		return "", err
	}
	w.Header().Set("Location", "/api/v1/edits/"+strconv.FormatUint(seq, 10))
	return e.op, writeDoc(w, http.StatusCreated, struct {
		Edit     uint64 `json:"edit"`
		Op       editOp `json:"op"`
		Meter    string `json:"meter"`
		Readings int    `json:"readings"`
	}{seq, e.op, e.meter, len(changes)})
}

// changesOf works out the rows of an edit. Of an undo it sets the meter.
func (s *Server) changesOf(ctx context.Context, e *editForm) ([]change, error) {
	switch {
	case e.op == opUndo:
		return s.undoOf(ctx, e)
	case e.op == opEstimate:
		return s.estimateOf(ctx, e)
	case len(e.readings) > 0:
		return s.namedOf(ctx, e)
	}
	there, err := s.counting(ctx, e.meter, e.registers, e.from, e.to)
	if err != nil {
		return nil, err
	}
	changes := make([]change, 0, len(there))
	for i := range there {
		changes = append(changes, voidOf(&there[i]))
	}
	switch {
	case len(changes) == 0:
		return nil, badField("from", "no reading of these registers starts between from and to")
	case len(changes) > maxEditReadings:
		return nil, badField("from", fmt.Sprintf("%d readings start between from and to, and an edit has at most %d: make several", len(changes), maxEditReadings))
	}
	return changes, nil
}

// editOrder is that of every row of an edit: of two edits the later one counts.
var editOrder = gridloom.NewOrder(gridloom.ClassEdit, 0, 0)

// voidOf withdraws a reading.
func voidOf(before *gridloom.Reading) change {
	return change{gridloom.Reading{
		Meter: before.Meter, Register: before.Register, Start: before.Start, Length: before.Length,
		Void: true, Quality: gridloom.Edited, Order: editOrder, Serial: before.Serial,
	}, before}
}

// namedOf sets or voids the readings that are named.
func (s *Server) namedOf(ctx context.Context, e *editForm) ([]change, error) {
	registers := map[gridloom.RegisterID]bool{}
	from, to := gridloom.Millis(1<<62), gridloom.Millis(0)
	for i := range e.readings {
		registers[e.readings[i].Register] = true
		from, to = min(from, e.readings[i].Start), max(to, e.readings[i].Start+1)
	}
	for id := range registers {
		e.registers = append(e.registers, id)
	}
	slices.Sort(e.registers)
	if e.op == opSet { // the device that told the reading before tells this one
		from -= gridloom.Day
	}
	there, err := s.counting(ctx, e.meter, e.registers, from, to)
	if err != nil {
		return nil, err
	}
	bySeries := map[gridloom.RegisterID][]gridloom.Reading{}
	for i := range there {
		bySeries[there[i].Register] = append(bySeries[there[i].Register], there[i])
	}
	changes := make([]change, 0, len(e.readings))
	for i := range e.readings {
		r := &e.readings[i]
		list := bySeries[r.Register]
		n, found := slices.BinarySearchFunc(list, r, func(a gridloom.Reading, b *gridloom.Reading) int {
			return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Length, b.Length))
		})
		c := change{row: *r}
		if found {
			c.before = &list[n]
		}
		if e.op == opVoid {
			if !found {
				return nil, badField(e.paths[i], fmt.Sprintf("there is no reading of %s at %s", r.Register, r.Start))
			}
			changes = append(changes, voidOf(c.before))
			continue
		}
		c.row.Quality, c.row.Order = gridloom.Edited, editOrder
		if c.row.Serial == "" {
			c.row.Serial = serialAt(list, n)
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// serialAt returns the serial of the device at place n of a series, or of the last one before that told one.
func serialAt(list []gridloom.Reading, n int) string {
	for i := min(n, len(list)-1); i >= 0; i-- {
		if list[i].Serial != "" {
			return list[i].Serial
		}
	}
	return ""
}

// counting returns the readings of a meter's registers that count and start in [from, to), by (register, start, length).
func (s *Server) counting(ctx context.Context, meter string, registers []gridloom.RegisterID, from, to gridloom.Millis) ([]gridloom.Reading, error) {
	var list []gridloom.Reading
	err := s.eachRow(ctx, meter, registers, from, to, false, func(r *gridloom.Reading, _ bool) error {
		if len(list) == maxEditRows {
			return overLimit("", fmt.Sprintf("more than %d readings lie in the span of the edit", maxEditRows), "make several edits")
		}
		list = append(list, *r)
		return nil
	})
	return list, err
}

// eachRow calls f for the readings of a meter's registers that start in [from, to), with history for all their rows.
func (s *Server) eachRow(ctx context.Context, meter string, registers []gridloom.RegisterID, from, to gridloom.Millis, history bool, f func(r *gridloom.Reading, counts bool) error) error {
	sc := &scan{sel: pane.Selector{Meters: []string{meter}, Registers: registers, From: from, To: to}}
	var err error
	if sc.snaps, err = s.snapshots(ctx, only(sc.sel, pane.KindRaw), false); err != nil {
		return err
	}
	if _, err = s.findSegments(ctx, sc, pane.KindRaw); err != nil {
		return err
	}
	if kept := keptFrom(sc.snaps, pane.KindRaw); !history && from < kept && to > kept {
		from = kept
	} else if !history && to <= kept {
		return badField("", fmt.Sprintf("readings before %s are no longer kept, so that they cannot be edited", kept))
	}
	sources, err := s.readingSources(ctx, sc)
	if err != nil {
		return err
	}
	rows := &seriesRows{series: s.limits.Series, from: from, to: to, history: history, emit: f}
	if err := merge(ctx, sources, s.order.ofReading, rows.take); err != nil {
		return err
	}
	return rows.end()
}

// recordOf describes an edit for the audit trail.
func recordOf(e *editForm, changes []change) *editRecord {
	rec := &editRecord{Who: e.who, Why: e.why, Op: e.op, Meter: e.meter, Readings: len(changes), Undoes: e.undoes}
	if e.op == opEstimate {
		rec.Cadence = spanString(e.cadence)
	}
	codes := map[string]bool{}
	from, to := changes[0].row.Start, gridloom.Millis(0)
	for i := range changes {
		c := &changes[i]
		from, to = min(from, c.row.Start), max(to, c.row.Start+max(c.row.Length, 1))
		codes[c.row.Register.Info().Code] = true
		if e.op == opUndo || len(rec.Changes) == maxToldChanges {
			rec.ChangesLeft++
			continue
		}
		told := editChange{Register: c.row.Register.Info().Alias, At: c.row.Start.String()}
		if c.row.Length > 0 {
			told.Length = spanString(c.row.Length)
		}
		if !c.row.Void {
			told.Value = numberOf(c.row.Value)
		}
		if c.before != nil {
			told.Before = numberOf(c.before.Value)
		}
		rec.Changes = append(rec.Changes, told)
	}
	if e.op == opUndo {
		rec.ChangesLeft = 0 // they are those of the edit
	}
	rec.From, rec.To = from.String(), to.String()
	for code := range codes {
		rec.Registers = append(rec.Registers, code)
	}
	slices.Sort(rec.Registers)
	return rec
}

// numberOf writes thousandths as a decimal.
func numberOf(v int64) *json.Number {
	n := json.Number(appendDecimal(nil, v, thousandths))
	return &n
}
