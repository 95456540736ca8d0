package device

import (
	"math"
	"slices"

	"github.com/gridloom/gridloom"
)

// household is one simulated connection. Its power is constant over pieces of
// each UTC day, so that its registers are exact: energy is the sum of power times
// time in mW·s, and a register shows the whole mWh of it. All of it follows from
// the seed, the number of the meter and the instant alone; nothing is remembered,
// so a restart goes on with the same registers.
type household struct {
	seed  uint64
	since int64 // day number (from 1970) on which the registers stood at their first value

	base     int64 // mW, always on
	first    int64 // mWh, import register on day since
	firstOut int64 // mWh, export register on day since
	solar    int64 // mW at the best noon of the year; 0: no PV
	car      bool  // an EV that charges on some evenings

	// The day that was asked for last.
	day    int64
	pieces []piece
	marks  []int32 // scratch
	loads  []load  // scratch

	// Sums in mW·s of all days from since to before day sumDay.
	sumDay          int64
	sumIn, sumOut   int64
	drawnIn, soldIn int64 // scratch of the day in hand: before its last piece
}

// piece is a part of a day over which power does not change.
type piece struct {
	from    int32 // second of the day
	net     int64 // mW; negative: into the grid
	in, out int64 // mW·s of the day before from
}

// load is an appliance that runs on a day.
type load struct {
	from, to int32 // seconds of the day
	power    int64 // mW
}

const daySeconds = 86_400

// newHousehold draws what household number n of a seed is like.
func newHousehold(seed uint64, n int, since gridloom.Millis) *household {
	h := &household{seed: mix(seed ^ mix(uint64(n)+0x9e3779b97f4a7c15)), since: int64(since.Floor(gridloom.Day) / gridloom.Day)}
	h.base = between(h.roll(0, 1), 60_000, 350_000)
	h.first = between(h.roll(0, 2), 500_000_000, 30_000_000_000)
	if h.roll(0, 3)%100 < 30 {
		h.solar = between(h.roll(0, 4), 2_000_000, 9_000_000)
		h.firstOut = between(h.roll(0, 5), 0, 9_000_000_000)
	}
	h.car = h.roll(0, 6)%100 < 20
	h.day, h.sumDay = math.MinInt64, h.since
	return h
}

// mix is fmix64 of MurmurHash3: a good hash of one word.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// roll is the what-th draw of a day.
func (h *household) roll(day int64, what uint64) uint64 {
	return mix(h.seed ^ mix(uint64(day)*0x9e3779b97f4a7c15+what))
}

// between maps a draw to [low, high].
func between(roll uint64, low, high int64) int64 { return low + int64(roll%uint64(high-low+1)) }

// appliances lists what runs on a day. Each lies inside the day.
func (h *household) appliances(day int64) []load {
	ls := h.loads[:0]
	add := func(what uint64, fromHour, toHour, minMinutes, maxMinutes, minWatt, maxWatt int64) {
		from := between(h.roll(day, what), fromHour*3600, toHour*3600)
		length := between(h.roll(day, what+1), minMinutes*60, maxMinutes*60)
		ls = append(ls, load{int32(from), int32(min(from+length, daySeconds)), between(h.roll(day, what+2), minWatt, maxWatt) * 1000})
	}
	often := func(what uint64, percent uint64) bool { return h.roll(day, what)%100 < percent }
	add(100, 6, 8, 3, 8, 1800, 2200)     // kettle
	add(110, 6, 9, 5, 15, 1200, 2000)    // breakfast, shower pump
	add(120, 11, 13, 10, 40, 800, 2500)  // lunch
	add(130, 17, 19, 20, 60, 1500, 3500) // dinner
	add(140, 18, 22, 90, 240, 120, 380)  // lights, television
	add(150, 6, 21, 240, 600, 60, 180)   // fridge and freezer beyond the base load
	if often(200, 45) {                  // dishwasher
		add(210, 19, 22, 60, 110, 700, 1400)
	}
	if often(220, 35) { // washing machine
		add(230, 8, 18, 70, 130, 400, 900)
	}
	if h.car && often(240, 55) { // EV, ends before midnight
		add(250, 17, 20, 60, 230, 3600, 11_000)
	}
	h.loads = ls
	return ls
}

// bell is the clear sky over 96 quarters of a UTC day, in thousandths of its noon.
var bell = func() (b [96]int64) {
	for q := range b {
		b[q] = max(0, int64(math.Round(1000*math.Sin(math.Pi*(float64(q)+0.5-24)/48))))
		if q < 24 || q >= 72 {
			b[q] = 0
		}
	}
	return b
}()

// sun returns the noon power of a day in mW, a multiple of 1000.
func (h *household) sun(day int64) int64 {
	if h.solar == 0 {
		return 0
	}
	// The year swings between 25 % at its start and 100 % in its middle.
	fold := (day%365 + 365) % 365
	season := 25 + 75*min(fold, 365-fold)/182
	cloud := between(h.roll(day, 300), 15, 100)
	return h.solar / 1000 * season / 100 * cloud / 100 * 1000
}

// load fills h.pieces with a day.
func (h *household) load(day int64) {
	if h.day == day {
		return
	}
	loads, noon := h.appliances(day), h.sun(day)
	h.marks = append(h.marks[:0], 0)
	for _, l := range loads {
		h.marks = append(h.marks, l.from, l.to)
	}
	if noon > 0 {
		for q := int32(24); q <= 72; q++ {
			h.marks = append(h.marks, q*900)
		}
	}
	slices.Sort(h.marks)
	h.marks = slices.Compact(h.marks)
	h.pieces = h.pieces[:0]
	var in, out int64
	for i, from := range h.marks {
		if from >= daySeconds {
			break
		}
		net := h.base - noon/1000*bell[from/900]
		for _, l := range loads {
			if l.from <= from && from < l.to {
				net += l.power
			}
		}
		h.pieces = append(h.pieces, piece{from, net, in, out})
		to := int32(daySeconds)
		if i+1 < len(h.marks) {
			to = h.marks[i+1]
		}
		in += max(net, 0) * int64(to-from)
		out += max(-net, 0) * int64(to-from)
	}
	h.day, h.drawnIn, h.soldIn = day, in, out
}

// sums moves the running sums to the beginning of day.
func (h *household) sums(day int64) {
	if day < h.sumDay {
		h.sumDay, h.sumIn, h.sumOut = h.since, 0, 0
	}
	for ; h.sumDay < day; h.sumDay++ {
		if h.solar == 0 { // no piece can be negative: the sum needs no pieces
			sum := h.base * daySeconds
			for _, l := range h.appliances(h.sumDay) {
				sum += l.power * int64(l.to-l.from)
			}
			h.sumIn += sum
			continue
		}
		h.load(h.sumDay)
		h.sumIn += h.drawnIn
		h.sumOut += h.soldIn
	}
}

// state is what a meter shows at an instant, in thousandths.
type state struct {
	imported, exported int64 // mWh
	net                int64 // mW; negative: into the grid
	voltage            int64 // mV
}

// at returns what the meter shows. Instants before the registers' first day show their first values.
func (h *household) at(t gridloom.Millis) state {
	day := int64(t.Floor(gridloom.Day) / gridloom.Day)
	h.sums(day)
	h.load(day)
	ms := int64(t) - day*int64(gridloom.Day)
	i, found := slices.BinarySearchFunc(h.pieces, int32(ms/1000), func(p piece, s int32) int { return int(p.from) - int(s) })
	if !found {
		i--
	}
	p := &h.pieces[i]
	s := state{imported: h.first, exported: h.firstOut, net: p.net}
	if day >= h.since {
		span := ms - int64(p.from)*1000 // ms; mW·ms / 1000 = mW·s
		s.imported += (h.sumIn + p.in + max(p.net, 0)*span/1000) / 3600
		s.exported += (h.sumOut + p.out + max(-p.net, 0)*span/1000) / 3600
	}
	// 0.25 Ω of line and cable, and a grid that moves by a few volts.
	s.voltage = 231_000 - p.net/1000*1000/920 + between(h.roll(int64(t)/60_000, 400), -1500, 1500)
	return s
}
