package query

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/client"
)

// TestClientReadsWhatIsServed gets back what was stored through the Go client.
func TestClientReadsWhatIsServed(t *testing.T) {
	var rows []gridloom.Reading
	for i, r := range neighbourhood(rand.New(rand.NewPCG(11, 1)), 3) {
		if r.Void || i%3 == 0 {
			continue
		}
		rows = append(rows, r)
	}
	panes := foldAll(window.Defaults(), rows, t0+gridloom.Day)
	w := newWorld(t)
	w.commit(panes, rows[:len(rows)/2])
	w.hold(nil, rows[len(rows)/2:])
	c, err := client.New(w.serve(), nil)
	if err != nil {
		t.Fatal(err)
	}
	q := client.Query{From: t0, To: t0 + 3*gridloom.Day}

	want := map[gridloom.Identity]gridloom.Reading{}
	for _, r := range rows {
		if old, ok := want[r.Identity()]; !ok || r.Outranks(&old) {
			want[r.Identity()] = r
		}
	}
	for r, err := range c.Readings(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		id := gridloom.Identity{Series: gridloom.Series{Meter: r.Meter, Register: register(t, r.Register)}, Start: r.Start, Length: r.Length}
		if w, ok := want[id]; !ok || w.Value != r.Value.Thousandths || w.Quality != r.Quality || w.Serial != r.Serial {
			t.Fatalf("%+v, want %+v", r, w)
		}
		delete(want, id)
	}
	if len(want) > 0 {
		t.Errorf("%d readings did not come", len(want))
	}

	i := 0
	for r, err := range c.Windows(t.Context(), client.WindowsQuery{Query: q}) {
		if err != nil {
			t.Fatal(err)
		}
		p := panes[i]
		got := gridloom.Pane{
			Meter: r.Meter, Register: register(t, r.Register), Start: r.Start, Length: r.End - r.Start, N: uint32(r.N), Energy: r.Energy.Thousandths,
			HasEnergy: r.Energy.Valid, Min: r.Min.Thousandths, Max: r.Max.Thousandths, First: r.First.Thousandths, Last: r.Last.Thousandths,
			Quality: r.Quality, Closed: r.Closed, Revision: r.Revision, ComputedAt: r.ComputedAt,
		}
		p.Coverage, p.Sum, p.FirstAt, p.LastAt, p.TimeWeighted, p.Carry = 0, 0, 0, 0, gridloom.Int128{}, nil
		if diff := cmp.Diff(p, got); diff != "" {
			t.Fatalf("window %d (-want +got)\n%s", i, diff)
		}
		i++
	}
	if i != len(panes) {
		t.Errorf("%d windows, want %d", i, len(panes))
	}

	var days []string
	for r, err := range c.Windows(t.Context(), client.WindowsQuery{
		Query: client.Query{Meters: []string{panes[0].Meter}, Registers: []string{"energy_import_interval"}, From: q.From, To: t0 + gridloom.Day}, Every: "1d", Zone: "Asia/Kathmandu",
	}) {
		if err != nil {
			t.Fatal(err)
		}
		days = append(days, r.LocalStart+r.UTCOffset)
	}
	if diff := cmp.Diff([]string{"2026-11-22+05:45", "2026-11-23+05:45"}, days); diff != "" {
		t.Errorf("days in Kathmandu (-want +got)\n%s", diff)
	}

	meters := 0
	for m, err := range c.Meters(t.Context(), "m0") {
		if err != nil || len(m.Registers) == 0 {
			t.Fatalf("%+v, %v", m, err)
		}
		meters++
	}
	if meters == 0 {
		t.Error("no meters")
	}
	for _, err := range c.Windows(t.Context(), client.WindowsQuery{Step: 1}) {
		var p *client.Problem
		if !errors.As(err, &p) || p.Parameter != "step" || !errors.Is(err, gridloom.ErrInvalid) {
			t.Errorf("a step of 1 ms = %v, want a problem with step", err)
		}
	}
}
