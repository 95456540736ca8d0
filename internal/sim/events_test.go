package sim

import (
	"github.com/gridloom/gridloom"
)

// kinds are the events that may happen, and how often they do. An event that cannot
// happen at present makes place for another one.
var kinds = []struct {
	name   string
	weight int
	do     func(w *world) bool
}{
	{"time passes", 60, timePasses},
	{"a clock is set", 3, aClockIsSet},
	{"a device reads", 110, aDeviceReads},
	{"a person edits", 14, aPersonEdits},
	{"a device connects", 60, aDeviceConnects},
	{"a device publishes", 160, aDevicePublishes},
	{"a packet arrives", 160, aPacketArrives},
	{"a frame is sealed", 110, aFrameIsSealed},
	{"a frame is stored", 140, aFrameIsStored},
	{"answers are sent", 110, answersAreSent},
	{"a device hears", 160, aDeviceHears},
	{"a connection is lost", 6, aConnectionIsLost},
	{"a device crashes", 4, aDeviceCrashes},
	{"ingest crashes", 4, ingestCrashes},
	{"a cursor is saved", 4, aCursorIsSaved},
	{"a late message comes", 12, aLateMessageComes},
	{"a partition is claimed", 10, aPartitionIsClaimed},
	{"an owner reads", 110, anOwnerReads},
	{"an owner prepares", 24, anOwnerPrepares},
	{"an owner saves", 60, anOwnerSaves},
	{"an owner merges", 20, anOwnerMerges},
	{"an owner sweeps", 16, anOwnerSweeps},
	{"an owner retains", 16, anOwnerRetains},
	{"an owner ticks", 4, anOwnerTicks},
	{"an owner crashes", 5, anOwnerCrashes},
	{"the log is purged", 5, theLogIsPurged},
	{"a query asks", 4, aQueryAsks},
	{"a query reads on", 3, aQueryReadsOn},
}

func timePasses(w *world) bool {
	step := gridloom.Millis(w.rnd.IntN(120)) * gridloom.Second
	if w.rnd.IntN(20) == 0 {
		step = gridloom.Millis(w.rnd.IntN(40)) * gridloom.Minute
	}
	if w.brief && w.rnd.IntN(4) == 0 {
		step = gridloom.Millis(w.rnd.IntN(12*60)) * gridloom.Minute
	}
	w.now += step
	return true
}

// aClockIsSet lets one clock go wrong by some minutes, or right again.
func aClockIsSet(w *world) bool {
	step := gridloom.Millis(w.rnd.IntN(8)-4) * gridloom.Minute
	if w.rnd.IntN(3) == 0 {
		step = 0
	}
	switch w.rnd.IntN(4) {
	case 0:
		pick(w, w.stations).step = step
	case 1:
		pick(w, w.bridges).step = step
	case 2:
		w.log.step = step
	default:
		if len(w.owners) == 0 {
			return false
		}
		pick(w, w.owners).step = step
	}
	w.note("a clock is set to %s", step.Duration())
	return true
}

// station returns a device that is up; one that is down starts instead, sooner or later.
func (w *world) station() *station {
	s := pick(w, w.stations)
	if s.machine == nil {
		if w.rnd.IntN(8) == 0 {
			s.start()
		}
		return nil
	}
	return s
}

func (w *world) bridge() *bridge {
	b := pick(w, w.bridges)
	if b.machine == nil {
		if w.rnd.IntN(8) == 0 {
			b.start()
		}
		return nil
	}
	return b
}

func aDeviceReads(w *world) bool {
	s := w.station()
	if s == nil {
		return false
	}
	s.read()
	return true
}

func aDeviceConnects(w *world) bool {
	s, b := w.station(), w.bridge()
	if s == nil || b == nil || s.link != nil {
		return false
	}
	s.connect(b)
	return true
}

func aDevicePublishes(w *world) bool {
	s := w.station()
	return s != nil && s.link != nil && s.publish()
}

func aPacketArrives(w *world) bool {
	b := w.bridge()
	if b == nil || len(b.links) == 0 {
		return false
	}
	l := pick(w, b.links)
	if len(l.up) == 0 {
		if l.station.link != l && w.rnd.IntN(10) == 0 { // ingest notices that the device has gone
			l.drop()
		}
		return false
	}
	l.arrive(w.chance(20))
	return true
}

func aFrameIsSealed(w *world) bool {
	b := w.bridge()
	return b != nil && b.seal(w.rnd.IntN(b.machine.Lanes()))
}

func aFrameIsStored(w *world) bool {
	b := w.bridge()
	return b != nil && b.store(w.rnd.IntN(b.machine.Lanes()))
}

func answersAreSent(w *world) bool {
	b := w.bridge()
	return b != nil && len(b.links) > 0 && pick(w, b.links).answer()
}

func aDeviceHears(w *world) bool {
	s := w.station()
	return s != nil && s.link != nil && s.hear()
}

func aConnectionIsLost(w *world) bool {
	s := w.station()
	if s == nil || s.link == nil {
		return false
	}
	s.lose()
	return true
}

func aDeviceCrashes(w *world) bool {
	s := w.station()
	if s == nil || w.rates.crash == 0 {
		return false
	}
	s.crash()
	return true
}

func ingestCrashes(w *world) bool {
	b := w.bridge()
	if b == nil || w.rates.crash == 0 {
		return false
	}
	b.crash()
	return true
}

func aCursorIsSaved(w *world) bool {
	s := w.station()
	if s == nil {
		return false
	}
	s.arm()
	s.machine.SaveCursor()
	s.survived()
	return true
}

func aLateMessageComes(w *world) bool {
	if len(w.late) == 0 {
		return false
	}
	w.note("a late message comes")
	w.deliverLate(w.rnd.IntN(len(w.late)))
	return true
}

// aPartitionIsClaimed starts an owner, beside those who believe that they are it.
func aPartitionIsClaimed(w *world) bool {
	p := w.rnd.IntN(partitions)
	var there []*owner
	for _, o := range w.owners {
		if o.partition == p {
			there = append(there, o)
		}
	}
	// A partition seldom has more than one.
	if len(there) > 2 || len(there) > 0 && w.rnd.IntN(6) > 0 {
		return false
	}
	w.newOwner(p).acquire()
	return true
}

// owner returns one of those who take a partition for theirs. One that has not got it yet claims it.
func (w *world) owner() *owner {
	if len(w.owners) == 0 {
		return nil
	}
	o := pick(w, w.owners)
	if !o.acquired {
		o.acquire()
		return nil
	}
	return o
}

func anOwnerReads(w *world) bool {
	o := w.owner()
	if o == nil {
		return false
	}
	if w.rnd.IntN(30) == 0 {
		o.verified = false
	}
	return o.read(1 + w.rnd.IntN(4))
}

func anOwnerPrepares(w *world) bool {
	o := w.owner()
	return o != nil && o.prepare(w.rnd.IntN(4) == 0)
}

func anOwnerSaves(w *world) bool {
	o := w.owner()
	if o == nil || !o.machine.Prepared() {
		return false
	}
	o.save()
	return true
}

func anOwnerMerges(w *world) bool {
	o := w.owner()
	return o != nil && o.merge()
}

func anOwnerSweeps(w *world) bool {
	o := w.owner()
	if o == nil {
		return false
	}
	o.sweep()
	return true
}

func anOwnerRetains(w *world) bool {
	if !w.brief {
		return false
	}
	o := w.owner()
	return o != nil && o.retain()
}

func anOwnerTicks(w *world) bool {
	o := w.owner()
	return o != nil && o.tick()
}

func anOwnerCrashes(w *world) bool {
	if len(w.owners) == 0 || w.rates.crash == 0 {
		return false
	}
	w.stats.Crashes++
	pick(w, w.owners).gone("crashes")
	return true
}

// theLogIsPurged forgets what was committed by heads that somebody has read some time ago.
func theLogIsPurged(w *world) bool {
	heads := map[int]gridloom.Head{}
	for p := range partitions {
		if h, _, err := w.heads.LoadHead(w.ctx, p); err == nil {
			heads[p] = h
		}
	}
	_ = w.log.Purge(w.ctx, heads)
	w.note("the log begins at %d", w.log.first)
	return true
}

func aQueryAsks(w *world) bool {
	o := w.owner()
	if o == nil {
		return false
	}
	meter := ""
	if w.rnd.IntN(3) > 0 {
		series := w.ledger.parts[o.partition].series
		if len(series) == 0 {
			return false
		}
		meter = pick(w, series).Meter
	}
	return w.ask(o, meter)
}

func aQueryReadsOn(w *world) bool {
	if len(w.slow) == 0 {
		return false
	}
	i := w.rnd.IntN(len(w.slow))
	w.slow[i].finish(w)
	w.slow = append(w.slow[:i:i], w.slow[i+1:]...)
	return true
}
