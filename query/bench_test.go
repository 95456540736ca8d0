package query

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/gridloom/gridloom"
)

// fleet stores the panes of a number of meters with an interval register of half
// hours, in segments as they are committed while a file is replayed.
func fleet(b *testing.B, meters, days, segments int) *world {
	b.Helper()
	w := newWorld(b)
	id := register(b, "energy_import_interval")
	for s := range segments {
		var panes []gridloom.Pane
		lo, hi := s*days*96/segments, (s+1)*days*96/segments
		for m := range meters {
			for i := lo; i < hi; i++ {
				v := int64(m*i%1000) * 1000
				panes = append(panes, gridloom.Pane{
					Meter: fmt.Sprintf("MAC%06d", m), Register: id, Start: t0 - gridloom.Millis(days)*gridloom.Day + gridloom.Millis(i)*15*gridloom.Minute,
					Length: 15 * gridloom.Minute, Revision: uint64(s + 1), ComputedAt: t0, Closed: true, N: uint32(1 - i%2), Coverage: 15 * gridloom.Minute,
					Quality: gridloom.Derived, Sum: v, Min: v, Max: v, First: v, Last: v, Energy: v, HasEnergy: true,
				})
			}
		}
		w.commit(panes, nil)
	}
	return w
}

func benchmarkQuery(b *testing.B, w *world, path string) {
	s, err := New(w.cfg, w.store, w, w, w)
	if err != nil {
		b.Fatal(err)
	}
	h := s.Routes()
	b.ReportAllocs()
	var bytes int
	for b.Loop() {
		rec := httptest.NewRecorder()
		rec.Body = nil
		h.ServeHTTP(rec, httptest.NewRequestWithContext(context.Background(), "GET", path, nil))
		if rec.Code != 200 {
			b.Fatal(rec.Code)
		}
		bytes++
	}
}

// BenchmarkFleetYear joins 3.5 million stored panes of 100 meters and a year into half hours.
func BenchmarkFleetYear(b *testing.B) {
	w := fleet(b, 100, 365, 12)
	b.Run("group_by=register", func(b *testing.B) {
		benchmarkQuery(b, w, fmt.Sprintf("/api/v1/windows?from=%d&to=%d&step=30m&group_by=register", t0-365*gridloom.Day, t0))
	})
	b.Run("ndjson", func(b *testing.B) {
		benchmarkQuery(b, w, fmt.Sprintf("/api/v1/windows?from=%d&to=%d&format=ndjson", t0-365*gridloom.Day, t0))
	})
	b.Run("arrow", func(b *testing.B) {
		benchmarkQuery(b, w, fmt.Sprintf("/api/v1/windows?from=%d&to=%d&format=arrow", t0-365*gridloom.Day, t0))
	})
	b.Run("one-meter-day", func(b *testing.B) {
		benchmarkQuery(b, w, fmt.Sprintf("/api/v1/windows?from=%d&to=%d&meter=MAC000042", t0-101*gridloom.Day, t0-100*gridloom.Day))
	})
}

// BenchmarkCalendar joins stored panes into days and months of Amsterdam: a year of
// one meter among 100, and a month of 2,000 meters.
func BenchmarkCalendar(b *testing.B) {
	year := fleet(b, 100, 365, 12)
	from, to := t0-365*gridloom.Day, t0
	b.Run("year-of-days-of-one-meter", func(b *testing.B) {
		benchmarkQuery(b, year, fmt.Sprintf("/api/v1/windows?from=%d&to=%d&meter=MAC000042&step=1d&tz=Europe/Amsterdam", from, to))
	})
	b.Run("year-of-years-of-one-meter", func(b *testing.B) {
		benchmarkQuery(b, year, fmt.Sprintf("/api/v1/windows?from=%d&to=%d&meter=MAC000042&step=1y&tz=Europe/Amsterdam", from, to))
	})
	month := fleet(b, 2000, 30, 1)
	from = t0 - 30*gridloom.Day
	for _, step := range []string{"30m", "1d&tz=Europe/Amsterdam", "1mo&tz=Europe/Amsterdam", "1d&tz=Europe/Amsterdam&group_by=register", "1d&tz=Europe/Amsterdam&group_by=meter&register=energy_import_interval"} {
		b.Run("month-of-2000-meters/step="+step, func(b *testing.B) {
			benchmarkQuery(b, month, fmt.Sprintf("/api/v1/windows?from=%d&to=%d&format=csv&step=%s", from, to, step))
		})
	}
}
