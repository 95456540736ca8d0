package window_test

import (
	"math/big"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// told is what a winning reading is in the end.
type told struct {
	r      window.Reading
	counts bool // accepted
	from   int  // the accepted one before, from which it grew; -1: its value is where it begins
	wrap   int64
	mark   gridloom.Quality
}

// beyond reports whether more than the rating allows was counted in a time, of which it is at least a quarter of an hour.
func beyond(c window.Config, grew *big.Int, l gridloom.Millis) bool {
	rating := big.NewInt(c.Rating)
	if c.Rating == 0 {
		rating.SetInt64(window.DefaultRating)
	}
	allowed := rating.Mul(rating, big.NewInt(int64(max(l, 15*gridloom.Minute))))
	return grew.Cmp(allowed.Quo(allowed, big.NewInt(int64(gridloom.Hour)))) > 0
}

// register tells the story of a counter, readings by time: docs/registers.md, with the whole of what follows in sight.
func register(c window.Config, in []window.Reading) []told {
	out := make([]told, len(in))
	serial := ""
	changes := func(r window.Reading) bool { return serial != "" && r.Serial != "" && r.Serial != serial }
	grows := func(a, b window.Reading) bool {
		return b.Value >= a.Value && !beyond(c, big.NewInt(b.Value-a.Value), b.Start-a.Start)
	}
	ripe := func(of []window.Reading) bool {
		return len(of) >= 3 && of[len(of)-1].Start-of[0].Start >= 15*gridloom.Minute
	}
	say := func(r window.Reading) {
		if r.Serial != "" {
			serial = r.Serial
		}
	}
	last := -1 // accepted
	accept := func(i, from int, mark gridloom.Quality) {
		out[i] = told{r: in[i], counts: true, from: from, mark: mark}
		say(in[i])
		last = i
	}
	for i := 0; i < len(in); {
		r := in[i]
		switch {
		case last < 0:
			accept(i, -1, 0)
			i++
		case changes(r):
			accept(i, -1, gridloom.Exchange)
			i++
		case r.Value >= in[last].Value:
			// Does what rose too far come down again before it has stayed?
			j := i + 1
			if !grows(in[last], r) {
				old := serial
				say(in[i])
				for j < len(in) && !ripe(in[i:j]) && in[j].Value >= in[j-1].Value && !changes(in[j]) {
					say(in[j])
					j++
				}
				down := j < len(in) && !ripe(in[i:j]) && !changes(in[j]) && grows(in[last], in[j])
				if down {
					for g := i; g < j; g++ {
						out[g] = told{r: in[g], from: -1, mark: gridloom.Glitch}
					}
					accept(j, last, 0)
					i = j + 1
					continue
				}
				// It stays, with what is beside it while it was watched; what ends that is looked at anew.
				serial = old
				if ripe(in[i:j]) {
					j--
				}
				for ; i < j; i++ {
					accept(i, last, 0)
				}
				continue
			}
			accept(i, last, 0)
			i++
		default:
			i = below(c, in, i, last, out, accept, changes, grows, ripe)
		}
	}
	return out
}

// below tells of readings from the i-th on that are below the accepted one, and returns the
// first that is not told yet.
func below(c window.Config, in []window.Reading, i, last int, out []told, accept func(i, from int, mark gridloom.Quality), changes func(window.Reading) bool, grows func(a, b window.Reading) bool, ripe func([]window.Reading) bool) int {
	first := i
	mark := func(from, to int, q gridloom.Quality) {
		for g := from; g < to; g++ {
			out[g] = told{r: in[g], from: -1, mark: q}
		}
	}
	a := in[last]
	for j := i + 1; ; j++ {
		switch {
		case j == len(in) || changes(in[j]):
			mark(first, j, gridloom.Suspect)
			return j
		case in[j].Value >= a.Value:
			q := gridloom.Suspect
			if !ripe(in[first:j]) && grows(a, in[j]) && !grows(in[j-1], in[j]) {
				q = gridloom.Glitch
				mark(first, j, q)
				accept(j, last, 0)
				return j + 1
			}
			mark(first, j, q)
			return j
		case !grows(in[j-1], in[j]):
			mark(first, j, gridloom.Suspect)
			first = j
		case ripe(in[first:j+1]) && !ripe(in[first:j]):
			begin := in[first]
			wrapped := int64(0)
			for w := int64(1e9); w <= 1e15; w *= 10 {
				if a.Value < w && 20*(w-a.Value) <= w && begin.Value >= 0 && 20*begin.Value <= w && !beyond(c, big.NewInt(w-a.Value+begin.Value), begin.Start-a.Start) {
					wrapped = w
					break
				}
			}
			small := 2*begin.Value < a.Value && !beyond(c, big.NewInt(begin.Value), min(begin.Start-a.Start, gridloom.Day))
			switch {
			case wrapped > 0:
				accept(first, last, gridloom.Rollover)
				out[first].wrap = wrapped
			case small:
				accept(first, -1, gridloom.Reset)
			default:
				continue
			}
			for g := first + 1; g <= j; g++ {
				accept(g, g-1, 0)
			}
			// If within a day it is back where it would have been, it had not started again.
			k := j + 1
			for ; wrapped == 0 && k < len(in) && !changes(in[k]) && in[k].Value >= in[k-1].Value && in[k].Start-begin.Start <= gridloom.Day; k++ {
				if grows(in[k-1], in[k]) {
					accept(k, k-1, 0)
					continue
				}
				tenth := new(big.Int).Mul(big.NewInt(10), big.NewInt(in[k].Value-a.Value))
				soon := !beyond(c, big.NewInt(in[k].Value-a.Value), 0)
				if in[k].Value >= a.Value && (soon || !beyond(c, tenth, in[k].Start-a.Start)) {
					mark(first, k, gridloom.Glitch)
					accept(k, last, 0)
					k++
				}
				break
			}
			return k
		}
	}
}
