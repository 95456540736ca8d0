package pane

import (
	"fmt"
	"slices"
)

// A frame has one log time and many rows, and where each meter reports by itself its log
// times are noise: told in every row they were half of a merged raw segment. A segment of
// ToldOnceVersion tells the log time of a frame in the first row of its sequence alone;
// it is NULL in the rows behind that one.

// maxTold bounds the frames whose log time is remembered, by who writes a file and by who
// reads it. Frames beyond them tell theirs in each row. A day of a frame each second fits.
const (
	maxTold   = 1 << 17
	toldBytes = 40 // of a remembered frame
)

// frameTimes is what a decoder knows of log times, by sequence: at from all of the first
// groups row groups, while they are read in turn, and found where it had to search. Neither
// grows beyond what the file's writer remembered.
type frameTimes struct {
	at     map[int64]int64
	groups int
	found  map[int64]int64
	spare  struct {
		sequence, at []int64
		told         []bool
	}
}

// remember keeps the first log time that is told of a frame. What a full table leaves out
// its writer has left out, too.
func remember(times map[int64]int64, sequence, at int64) {
	if len(times) < maxTold {
		if _, ok := times[sequence]; !ok {
			times[sequence] = at
		}
	}
}

// logTimes decodes logged_at of the open row group's rows [lo, hi) of c, whose sequences
// are known. Rows that are not chosen may get none.
func (d *decoder) logTimes(dst, sequence []int64, c *chosen) error {
	if !d.fields[rawLoggedAt].null {
		return d.ints(rawLoggedAt, dst, c)
	}
	t := &d.told
	t.spare.told = resize(t.spare.told, len(dst))
	told := t.spare.told
	chunk, err := d.chunk(rawLoggedAt)
	if err != nil {
		return err
	}
	if err := chunk.ints(dst, told, c.lo, c.hi); err != nil {
		return err
	}
	if c.lo > 0 || c.hi < d.rows || c.rows != nil || t.groups != d.ordinal {
		return d.searchLogTimes(dst, sequence, told, c)
	}
	// All rows in turn, as a merge and a reader of everything ask for them.
	if t.at == nil {
		t.at = map[int64]int64{}
	}
	t.groups++
	for i, seq := range sequence {
		if told[i] {
			remember(t.at, seq, dst[i])
			continue
		}
		at, ok := t.at[seq]
		if !ok {
			return untold(d.ordinal, seq)
		}
		dst[i] = at
	}
	return nil
}

func untold(group int, sequence int64) error {
	return fmt.Errorf("row group %d, column logged_at: no row tells the log time of sequence %d", group, sequence)
}

// searchLogTimes fills in the log times of the chosen rows that do not tell theirs, from
// the rows before them in the file.
func (d *decoder) searchLogTimes(dst, sequence []int64, told []bool, c *chosen) error {
	t := &d.told
	missing := map[int64]struct{}{}
	_ = c.each(func(i int) error {
		if _, ok := t.found[sequence[i]]; !told[i] && !ok {
			missing[sequence[i]] = struct{}{}
		}
		return nil
	})
	if t.found == nil {
		t.found = map[int64]int64{}
	}
	earlier := decoder{fields: d.fields, data: d.data, r: d.r}
	for group := 0; group <= d.ordinal && len(missing) > 0; group++ {
		if err := earlier.findLogTimes(group, missing, t.found); err != nil {
			return err
		}
	}
	return c.each(func(i int) error {
		if told[i] {
			return nil
		}
		at, ok := t.found[sequence[i]]
		if !ok {
			return untold(d.ordinal, sequence[i])
		}
		dst[i] = at
		return nil
	})
}

// findLogTimes looks in a row group for the log times that are missing, and moves those that it finds.
func (d *decoder) findLogTimes(group int, missing map[int64]struct{}, found map[int64]int64) error {
	if err := d.open(group); err != nil {
		return err
	}
	s := &d.told.spare
	s.at, s.told, s.sequence = resize(s.at, d.rows), resize(s.told, d.rows), resize(s.sequence, d.rows)
	times, err := d.chunk(rawLoggedAt)
	if err != nil {
		return err
	}
	if err := times.ints(s.at, s.told, 0, d.rows); err != nil {
		return err
	}
	if !slices.Contains(s.told, true) { // most row groups behind the first registers
		return nil
	}
	sequences, err := d.chunk(rawSequence)
	if err != nil {
		return err
	}
	if err := sequences.ints(s.sequence, nil, 0, d.rows); err != nil {
		return err
	}
	for i, seq := range s.sequence {
		if _, ok := missing[seq]; ok && s.told[i] {
			found[seq] = s.at[i]
			delete(missing, seq)
		}
	}
	return nil
}

// toldTimes is what a writer has told of frames in the open file.
type toldTimes struct {
	at    map[int64]int64
	times []int64
	tells []bool
}

func (t *toldTimes) reset() { t.at = map[int64]int64{} }

// leave returns the log times that rows of a row group must tell, and which rows they are.
// Both are valid until the next call.
func (t *toldTimes) leave(sequence, at []int64) (times []int64, tells []bool) {
	t.times, t.tells = t.times[:0], resize(t.tells, len(at))
	for i, seq := range sequence {
		before, ok := t.at[seq]
		t.tells[i] = !ok || before != at[i]
		if t.tells[i] {
			remember(t.at, seq, at[i])
			t.times = append(t.times, at[i])
		}
	}
	return t.times, t.tells
}
