package query

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/gridloom/gridloom"
)

// key is the order in which segments are sorted and answers are given: by the
// register's OBIS code, then meter, then start.
type key struct {
	register int32 // place of the OBIS code in codeOrder
	meter    string
	start    gridloom.Millis
}

func (k *key) less(o *key) bool {
	if k.register != o.register {
		return k.register < o.register
	}
	if k.meter != o.meter { // the same string in memory costs no comparison of bytes
		return k.meter < o.meter
	}
	return k.start < o.start
}

// codeOrder gives each register the place of its OBIS code among all codes.
type codeOrder []int32

func newCodeOrder() codeOrder {
	ids := make([]gridloom.RegisterID, gridloom.Registers())
	for i := range ids {
		ids[i] = gridloom.RegisterID(i)
	}
	slices.SortFunc(ids, func(a, b gridloom.RegisterID) int { return strings.Compare(a.Info().Code, b.Info().Code) })
	order := make(codeOrder, len(ids))
	for place, id := range ids {
		order[id] = int32(place)
	}
	return order
}

func (o codeOrder) ofPane(p *gridloom.Pane) key { return key{o[p.Register], p.Meter, p.Start} }

func (o codeOrder) ofReading(r *gridloom.Reading) key { return key{o[r.Register], r.Meter, r.Start} }

// tailRank is the rank of rows that an owner's tail holds: they replace stored ones.
const tailRank = math.MaxInt32

// source is one sorted run of rows: a segment that is read as it is walked, or rows in memory.
type source[T any] struct {
	name  string  // for errors: a path, or which tail
	rank  int32   // a later segment of the manifest has a greater one
	ranks []int32 // of each row in memory, where they differ
	next  func() ([]T, bool)
	stop  func()
	err   error // why next came to an end, if not for want of rows

	rows []T
	at   int
	key  key
}

// Batches of a streamed source begin small, for the many queries that take a
// handful of rows of a segment, and grow to what makes the switch between the
// two coroutines cost nothing a row.
const firstBatch, fullBatch = 32, 512

var errStopped = errors.New("the reader wants no more rows")

// stream makes a source of a function that hands out rows one by one. The function
// runs in steps, only while the source is advanced, until it ends or stop is called.
func stream[T any](ctx context.Context, name string, rank int32, read func(fn func(*T) error) error) *source[T] {
	s := &source[T]{name: name, rank: rank}
	s.next, s.stop = iter.Pull(func(yield func([]T) bool) {
		batch := make([]T, 0, firstBatch)
		err := read(func(row *T) error {
			batch = append(batch, *row)
			if len(batch) < cap(batch) {
				return nil
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if !yield(batch) {
				return errStopped
			}
			if cap(batch) < fullBatch {
				batch = make([]T, 0, 4*cap(batch))
			}
			batch = batch[:0]
			return nil
		})
		if err == nil && len(batch) > 0 {
			yield(batch)
		}
		if !errors.Is(err, errStopped) {
			s.err = err
		}
	})
	return s
}

// inMemory makes a source of sorted rows.
func inMemory[T any](name string, rank int32, rows []T) *source[T] {
	s := &source[T]{name: name, rank: rank, stop: func() {}}
	s.next = func() ([]T, bool) {
		r := rows
		rows = nil
		return r, len(r) > 0
	}
	return s
}

func (s *source[T]) rowRank() int32 {
	if s.ranks != nil {
		return s.ranks[s.at]
	}
	return s.rank
}

// advance steps to the next row; ok is false at the end.
func (s *source[T]) advance(keyOf func(*T) key) (ok bool, err error) {
	s.at++
	if s.at >= len(s.rows) {
		rows, more := s.next()
		if !more {
			return false, s.err
		}
		s.rows, s.at = rows, 0
	}
	k := keyOf(&s.rows[s.at])
	if k.less(&s.key) {
		return false, fmt.Errorf("%w: %s is not sorted: %s at %s stands after %s at %s", gridloom.ErrCorrupt,
			s.name, k.meter, k.start, s.key.meter, s.key.start)
	}
	s.key = k
	return true, nil
}

// merge hands every row of the sources to fn in the order of keys, rows of an equal
// key in any order. A row is valid until fn returns. It stops all sources.
func merge[T any](ctx context.Context, sources []*source[T], keyOf func(*T) key, fn func(row *T, rank int32) error) error {
	defer func() {
		for _, s := range sources {
			s.stop()
		}
	}()
	if err := ctx.Err(); err != nil {
		return err
	}
	heap := make([]*source[T], 0, len(sources))
	for _, s := range sources {
		s.at, s.key = -1, key{register: -1}
		ok, err := s.advance(keyOf)
		if err != nil {
			return err
		}
		if ok {
			heap = append(heap, s)
		}
	}
	for i := len(heap)/2 - 1; i >= 0; i-- {
		sink(heap, i)
	}
	for len(heap) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, second := heap[0], runnerUp(heap)
		for {
			if err := fn(&s.rows[s.at], s.rowRank()); err != nil {
				return err
			}
			ok, err := s.advance(keyOf)
			if err != nil {
				return err
			}
			if !ok {
				heap[0] = heap[len(heap)-1]
				heap = heap[:len(heap)-1]
				break
			}
			if second != nil && second.key.less(&s.key) {
				break
			}
		}
		sink(heap, 0)
	}
	return nil
}

// runnerUp returns the source that comes after the first, nil if there is none.
func runnerUp[T any](heap []*source[T]) *source[T] {
	switch {
	case len(heap) < 2:
		return nil
	case len(heap) > 2 && heap[2].key.less(&heap[1].key):
		return heap[2]
	}
	return heap[1]
}

// sink restores the heap below place i.
func sink[T any](heap []*source[T], i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(heap); c++ {
			if heap[c].key.less(&heap[least].key) {
				least = c
			}
		}
		if least == i {
			return
		}
		heap[i], heap[least] = heap[least], heap[i]
		i = least
	}
}
