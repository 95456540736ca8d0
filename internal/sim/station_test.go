package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/edge-agent/agent"
	"github.com/gridloom/gridloom/edge-agent/device"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/blob/faultfs"
)

// station is a device with its agent and its disk.
type station struct {
	w       *world
	name    string
	step    gridloom.Millis // its clock against the world's
	disk    *faultfs.FS
	files   *handles
	machine *agent.Machine // nil while it is down
	link    *link          // nil without a connection
	source  source
	batches []*batch
	at      map[[2]uint32]*batch // by epoch and seq
}

var errKilled = errors.New("the process was killed")

func newStation(w *world, i int) *station {
	disk := faultfs.New()
	s := &station{w: w, name: fmt.Sprintf("gw%d", i), disk: disk, at: map[[2]uint32]*batch{}}
	s.files = &handles{FS: w.broken.disk(disk)}
	s.source = newSource(w, s.name)
	return s
}

func (s *station) now() time.Time { return (s.w.now + s.step).Time() }

func (s *station) start() {
	s.files.open = 0
	s.arm()
	m, err := agent.NewMachine(agent.Config{
		Agent: s.name, Connect: "mqtt://ingest", Dir: "/spool", FS: s.files, SpoolMax: 64 << 10, BatchBytes: 16 << 10, Window: 4,
		Logger: s.w.logger(s.name),
		Clock: &device.Clock{
			Mode: device.ClockTrust, Now: s.now, Boot: "boot",
			Uptime: func() time.Duration { return (s.w.now - worldStart).Duration() }, Synced: func() bool { return true },
		},
	})
	if s.survived() && err == nil {
		s.machine = m
		epoch, _ := m.Sealed()
		s.w.note("%s starts with epoch %d", s.name, epoch)
		s.check()
		return
	}
	s.w.note("%s does not start: %v", s.name, err)
}

// arm lets the disk, the power or the process fail at one of the next operations.
func (s *station) arm() {
	n := 1 + s.w.rnd.IntN(6)
	switch rate := s.w.rates.disk; {
	case s.w.chance(rate):
		s.disk.Inject(faultfs.FailAt(n, &faultfs.Partial{Bytes: s.w.rnd.IntN(100), Err: syscall.EIO}))
	case s.w.chance(rate):
		s.disk.Inject(faultfs.FailFrom(n, syscall.ENOSPC))
	case s.w.chance(rate):
		s.disk.Inject(faultfs.PowerLossAt(n, s.luck()))
	case s.w.chance(rate):
		s.disk.Inject(func(op faultfs.Op) error {
			if n--; n <= 0 {
				return errKilled
			}
			return nil
		})
	}
}

// luck decides what an unsynced disk keeps; nil: nothing.
func (s *station) luck() *rand.Rand {
	if s.w.rnd.IntN(3) == 0 {
		return nil
	}
	return rand.New(rand.NewPCG(s.w.rnd.Uint64(), 1))
}

// survived takes the fault away and reports whether the process lives.
func (s *station) survived() bool {
	_, err := s.disk.Stat("/")
	s.disk.Inject(nil)
	if errors.Is(err, faultfs.ErrPowerLost) || errors.Is(err, errKilled) {
		s.die(err)
		return false
	}
	return true
}

// die ends the process, and with the power what was not synced.
func (s *station) die(why error) {
	s.w.stats.Crashes++
	s.w.note("%s dies: %v", s.name, why)
	if errors.Is(why, faultfs.ErrPowerLost) {
		s.disk.Restart()
	}
	s.machine, s.link = nil, nil
}

// crash kills the process, or takes its power away.
func (s *station) crash() {
	if s.w.rnd.IntN(2) == 0 {
		s.die(errKilled)
		return
	}
	s.disk.PowerOff(s.luck())
	s.die(faultfs.ErrPowerLost)
}

// read takes a few readings of the device's meters.
func (s *station) read() {
	var c device.Chunk
	c.Limit = 100
	c.Reset()
	readings := s.source.next(s.w.now + s.step)
	for i := range readings {
		c.AppendReading(&readings[i])
	}
	epoch, before := s.machine.Sealed()
	s.arm()
	refused := s.machine.Take(s.w.ctx, &c)
	_, seq := s.machine.Sealed()
	if seq == before {
		s.survived()
		return // not even the epoch could be stored
	}
	b := &batch{epoch: epoch, seq: seq, readings: readings, spooled: refused == 0}
	for i := range readings {
		readings[i].Order = gridloom.NewOrder(gridloom.ClassDevice, epoch, seq)
		s.w.ledger.say(readings[i])
	}
	s.at[[2]uint32{epoch, seq}] = b
	if b.spooled {
		s.batches = append(s.batches, b)
		s.source.remember(readings)
	}
	s.w.note("%s reads %d readings as batch %d/%d, spooled %t", s.name, len(readings), epoch, seq, b.spooled)
	s.survived()
}

// publish sends the next batch over the connection.
func (s *station) publish() bool {
	s.arm()
	b, ok, err := s.machine.Publish()
	if !s.survived() {
		return true
	}
	if err != nil {
		s.w.note("%s cannot read its spool: %v", s.name, err)
		s.lose()
		return true
	}
	if !ok {
		return false
	}
	l := s.link
	l.nextID++
	p := &packet{id: l.nextID, batch: s.at[[2]uint32{b.Epoch, b.Seq}], topic: b.Topic, payload: b.Payload}
	if p.batch == nil {
		s.w.fail("%s publishes batch %d/%d, which it never sealed", s.name, b.Epoch, b.Seq)
	}
	l.sent = append(l.sent, p)
	if l.server != nil {
		l.up = append(l.up, p)
	}
	s.w.note("%s publishes batch %d/%d as packet %d", s.name, b.Epoch, b.Seq, p.id)
	return true
}

// hear takes the next PUBACK, or notices that ingest has closed the connection.
func (s *station) hear() bool {
	l := s.link
	if len(l.down) == 0 {
		if l.server == nil {
			s.lose()
			return true
		}
		return false
	}
	id := l.down[0]
	l.down = l.down[1:]
	for _, p := range l.sent {
		if p.id == id {
			p.acked = true
		}
	}
	s.w.note("%s hears PUBACK %d", s.name, id)
	s.arm()
	for len(l.sent) > 0 && l.sent[0].acked {
		l.sent[0].batch.acked = true
		s.machine.Acknowledged()
		l.sent = l.sent[1:]
	}
	s.survived()
	return true
}

// connect begins a connection to an ingest process that is up.
func (s *station) connect(b *bridge) {
	s.w.note("%s connects to %s", s.name, b.name)
	s.link = &link{station: s, bridge: b, server: b.machine.Connect(s.name), taken: map[uint16]*packet{}}
	b.links = append(b.links, s.link)
	s.machine.Connected()
}

// lose gives the connection up. What it has sent may still arrive.
func (s *station) lose() {
	s.w.stats.Losses++
	s.w.note("%s loses its connection", s.name)
	if s.w.broken.forgets() {
		for range s.link.sent {
			s.machine.Acknowledged()
		}
	}
	s.link = nil
	s.arm()
	s.machine.Lost()
	s.survived()
}

// check makes sure that the spool has everything that it took and that was not
// acknowledged, in the order in which it came.
func (s *station) check() {
	list, err := s.machine.Waiting()
	if err != nil {
		s.w.fail("%s cannot read its spool, and nothing is wrong with it: %v", s.name, err)
	}
	has := map[[2]uint32]bool{}
	for i := range list {
		r := &list[i]
		has[[2]uint32{r.Epoch, r.Seq}] = true
		if i > 0 && [2]uint32{list[i-1].Epoch, list[i-1].Seq} == [2]uint32{r.Epoch, r.Seq} {
			s.w.fail("the spool of %s has batch %d/%d twice", s.name, r.Epoch, r.Seq)
		}
	}
	for _, b := range s.batches {
		if !b.acked && !has[[2]uint32{b.epoch, b.seq}] {
			s.w.stats.Lost += len(b.readings)
			s.w.fail("the spool of %s has forgotten batch %d/%d, which was not acknowledged", s.name, b.epoch, b.seq)
		}
	}
}

// handles counts the open files of one process.
type handles struct {
	blob.FS
	open int
}

func (h *handles) OpenFile(name string, flag int, perm os.FileMode) (blob.File, error) {
	f, err := h.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	h.open++
	return &handle{f, h}, nil
}

type handle struct {
	blob.File
	of *handles
}

func (f *handle) Close() error {
	f.of.open--
	return f.File.Close()
}
