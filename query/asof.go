package query

import (
	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// foldSeries takes the raw rows of many series in the order (register, meter, start)
// and hands on the panes that were known at an earlier time: it folds, series by
// series, the rows that were logged until then. It holds the rows of one series.
type foldSeries struct {
	window    window.Config
	windowOf  func(meter string, register gridloom.RegisterID) window.Config // as the registry had it
	asOf      gridloom.Millis
	from, to  gridloom.Millis // what is asked for
	kept      func(meter string) gridloom.Millis
	watermark func(meter string) gridloom.Millis
	next      func(p *gridloom.Pane) error

	meter    string
	register gridloom.RegisterID
	rows     []window.Reading
}

func (f *foldSeries) take(r *gridloom.Reading, _ int32) error {
	if r.LoggedAt > f.asOf {
		return nil
	}
	if len(f.rows) > 0 && (r.Register != f.register || r.Meter != f.meter) {
		if err := f.end(); err != nil {
			return err
		}
	}
	f.meter, f.register = r.Meter, r.Register
	f.rows = append(f.rows, window.Reading{
		Start: r.Start, Length: r.Length, Value: r.Value, Void: r.Void, Quality: r.Quality, Order: r.Order,
		Sequence: r.Sequence, Place: r.Place, LoggedAt: r.LoggedAt, Serial: r.Serial,
	})
	return nil
}

// end folds what is gathered.
func (f *foldSeries) end() error {
	if len(f.rows) == 0 {
		return nil
	}
	err := f.checkFirst()
	if err != nil {
		return err
	}
	w := f.windowOf(f.meter, f.register)
	w.Fold(f.register.Info().Kind, f.rows, f.watermark(f.meter), func(p *gridloom.Pane) {
		if err != nil {
			return
		}
		p.Meter, p.Register = f.meter, f.register
		err = f.next(p)
	})
	f.rows = f.rows[:0]
	return err
}
