package query

import (
	"slices"

	"github.com/gridloom/gridloom"
)

// seriesRows gathers what merge hands out into the rows of one start of one series,
// resolves them and hands on what counts: of each identity the winner, unless it is
// a void; or with history every stored row once, and whether it is the one that counts.
type seriesRows struct {
	from, to gridloom.Millis // readings that start in [from, to) are handed on
	asOf     gridloom.Millis // rows that were logged later are left out; 0: none
	history  bool
	series   int // more of them are refused
	emit     func(r *gridloom.Reading, counts bool) error

	rows      []gridloom.Reading // of one series and start
	competing []gridloom.Reading // memory of identity
	seen      int                // series
	meter     string             // of the last row
	register  gridloom.RegisterID
}

func (s *seriesRows) take(r *gridloom.Reading, _ int32) error {
	if r.Start < s.from || r.Start >= s.to || s.asOf != 0 && r.LoggedAt > s.asOf {
		return nil
	}
	if len(s.rows) > 0 {
		if f := &s.rows[0]; f.Start != r.Start || f.Register != r.Register || f.Meter != r.Meter {
			if err := s.end(); err != nil {
				return err
			}
		}
	}
	if s.seen == 0 || r.Register != s.register || r.Meter != s.meter {
		if s.seen++; s.seen > s.series {
			return tooManySeries(s.series)
		}
		s.meter, s.register = r.Meter, r.Register
	}
	s.rows = append(s.rows, *r)
	return nil
}

// end hands on what is gathered.
func (s *seriesRows) end() error {
	rows := s.rows
	s.rows = s.rows[:0]
	if len(rows) > 1 {
		rows = distinctRows(rows)
	}
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].Length == rows[0].Length {
			n++
		}
		if err := s.identity(rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// identity hands on what is wanted of the rows of one identity, which rise in what decides between them.
func (s *seriesRows) identity(rows []gridloom.Reading) error {
	if s.history {
		s.competing = append(s.competing[:0], rows...)
	} else {
		s.competing = rows
	}
	competing := gridloom.Competing(s.competing, (*gridloom.Reading).Rank)
	var winner *gridloom.Reading
	if n := len(competing); n > 0 {
		winner = &competing[n-1]
	}
	if !s.history {
		if winner == nil || winner.Void {
			return nil
		}
		return s.emit(winner, true)
	}
	for i := range rows {
		counts := winner != nil && rows[i].Sequence == winner.Sequence && rows[i].Place == winner.Place
		if err := s.emit(&rows[i], counts); err != nil {
			return err
		}
	}
	return nil
}

// distinctRows sorts rows of one series and start by length, then rising in what
// decides between rows of one identity, and drops rows that are the same row of the
// log, seen in a segment and in a tail.
func distinctRows(rows []gridloom.Reading) []gridloom.Reading {
	slices.SortFunc(rows, func(a, b gridloom.Reading) int {
		switch {
		case a.Length != b.Length:
			return int(a.Length - b.Length)
		case a.Outranks(&b):
			return 1
		case b.Outranks(&a):
			return -1
		}
		return 0
	})
	return slices.CompactFunc(rows, func(a, b gridloom.Reading) bool {
		return a.Length == b.Length && a.Sequence == b.Sequence && a.Place == b.Place
	})
}
