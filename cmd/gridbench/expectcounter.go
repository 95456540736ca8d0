package main

import "github.com/gridloom/gridloom"

// What a counter's readings are, by docs/registers.md: a register rises, by no more than its
// connection carries. Everything is looked at with all of what follows in sight.

// fate is what becomes of a counter's reading.
type fate struct {
	counts bool
	from   int   // the reading that it rose from, -1 for none
	more   int64 // that it rose by beside the difference: it wrapped
}

// Limits of docs/registers.md.
const (
	rating      = 43_470_000 // thousandths an hour
	quarterHour = 15 * gridloom.Minute
	undecided   = 3 // readings
)

// carries reports whether a register can rise from a to b: at its rating, for a quarter of an hour at least.
func carries(a, b point) bool { return b.value >= a.value && fits(b.value-a.value, b.start-a.start) }

func fits(amount int64, span gridloom.Millis) bool {
	return amount <= upTo(rating, gridloom.Hour, max(span, quarterHour))
}

// stays reports whether readings have stayed for long enough to say what they are.
func stays(run []point) bool {
	return len(run) >= undecided && run[len(run)-1].start-run[0].start >= quarterHour
}

// fates decides about readings of one device, by time.
func fates(ps []point) []fate {
	out := make([]fate, len(ps))
	last := -1 // that counts
	count := func(i, from int) { out[i], last = fate{counts: true, from: from}, i }
	i := 0
	for i < len(ps) {
		switch {
		case last < 0:
			count(i, -1)
			i++
		case ps[i].value < ps[last].value:
			i = fallen(ps, i, last, count, out)
		case carries(ps[last], ps[i]):
			count(i, last)
			i++
		default:
			end := i + 1
			for end < len(ps) && ps[end].value >= ps[end-1].value && !stays(ps[i:end]) {
				end++
			}
			switch {
			case end < len(ps) && !stays(ps[i:end]) && carries(ps[last], ps[end]): // a glitch
				count(end, last)
				i = end + 1
				continue
			case stays(ps[i:end]):
				end-- // what made it stay may itself rise too far
			}
			for ; i < end; i++ {
				count(i, last)
			}
		}
	}
	return out
}

// fallen decides about the readings below the last that counts, from i on, and returns where they end.
func fallen(ps []point, i, last int, count func(i, from int), out []fate) int {
	a, begin := ps[last], i
	for j := i + 1; j < len(ps); j++ {
		switch {
		case ps[j].value >= a.value: // suspects or a glitch: they do not count either way
			if !stays(ps[begin:j]) && carries(a, ps[j]) && !carries(ps[j-1], ps[j]) {
				count(j, last)
				return j + 1
			}
			return j
		case !carries(ps[j-1], ps[j]):
			begin = j
			continue
		case stays(ps[begin:j]) || !stays(ps[begin:j+1]):
			continue
		}
		b := ps[begin]
		from, more := -1, int64(0)
		for w := int64(1e9); w <= 1e15 && more == 0; w *= 10 {
			if a.value < w && w-a.value <= w/20 && b.value >= 0 && b.value <= w/20 && fits(w-a.value+b.value, b.start-a.start) {
				from, more = last, w
			}
		}
		if more == 0 && (b.value >= (a.value+1)/2 || !fits(b.value, min(b.start-a.start, gridloom.Day))) {
			continue // it stays suspect
		}
		count(begin, from)
		out[begin].more = more
		for k := begin + 1; k <= j; k++ {
			count(k, k-1)
		}
		k := j + 1
		if more == 0 {
			k = back(ps, begin, k, last, count, out)
		}
		return k
	}
	return len(ps)
}

// back follows a register that seems to have started again, for a day, and returns where it left off. If it
// is back where it would have been it had not.
func back(ps []point, begin, k, last int, count func(i, from int), out []fate) int {
	for ; k < len(ps) && ps[k].value >= ps[k-1].value && ps[k].start-ps[begin].start <= gridloom.Day; k++ {
		if carries(ps[k-1], ps[k]) {
			count(k, k-1)
			continue
		}
		if grew := ps[k].value - ps[last].value; grew >= 0 && (fits(grew, 0) || grew <= upTo(rating, gridloom.Hour, ps[k].start-ps[last].start)/10) {
			clear(out[begin:k])
			count(k, last)
			k++
		}
		break
	}
	return k
}
