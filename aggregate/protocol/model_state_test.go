package protocol_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/gridloom/gridloom"
)

// The most that a state has room for; bounds (model_test.go) mostly allow less.
const (
	mostFrames = 3
	mostEpochs = 4
	perEpoch   = 3 // files of each kind that one epoch may write
	fileSlots  = mostEpochs * perEpoch
	owners     = 2
	inFlight   = 3 // puts of heads
)

// lease and deadline are in ticks of the model's clock: files are swept when they are
// lease old, and a query that sees its deadline-th tick has failed. As between 15 and
// 10 minutes, there is a gap.
const (
	lease    = 2
	deadline = 2
)

// A state is one partition and everything around it, at one instant. It holds no
// pointer and no absolute time, so that equal situations are equal values.
type state struct {
	log  logState
	reg  register
	net  [inFlight]put // heads on their way that can still be stored, in rising order; any may never arrive
	own  [owners]owner
	segs [fileSlots]segment // the store: slot = (epoch-1)*perEpoch + number
	mans [fileSlots]manifest
	snap [mostEpochs]snapshot // one for each epoch
	q    query
	cuts, losses, asked,
	ended uint8 // ended: queries that were answered in full
	bad violation
}

// logState is the log. Its frames are 1 to last; those below first are purged. What
// the frame of a sequence holds is told by its era: 1 if it was appended after the log
// was cut, at the place of one that had been acknowledged.
type logState struct {
	last, first uint8
	wasCut      bool
	cut         uint8 // the last sequence that survived
}

func (l *logState) era(seq uint8) uint8 {
	if l.wasCut && seq > l.cut {
		return 1
	}
	return 0
}

// register is the key of the heads bucket.
type register struct {
	head head // the last one stored; read by nobody while gone
	rev  uint8
	none bool // there is no head: never was, or it was removed
}

// head is gridloom.Head in few bytes; expand and pack convert.
type head struct {
	epoch, owner, id uint8
	next             uint8 // as NextSeq; the last frame before it is next-1
	era              uint8 // of that frame: its content
	man              uint8 // slot + 1 of the manifest, 0: none
}

// put is a head on its way to the bucket.
type put struct {
	head     head
	expected uint8
	commit   bool // not a claim
	there    bool
}

type fileState uint8

const (
	unwritten fileState = iota
	there
	swept
)

// segment holds raw rows: one bit for each frame that was read, see rowOf.
type segment struct {
	st   fileState
	age  uint8 // ticks since it was written, at most lease
	rows uint8
}

type manifest struct {
	st   fileState
	age  uint8
	snap uint8 // epoch of the snapshot it names, 0: none
	next uint8 // position of its head
	segs uint16
}

type snapshot struct {
	st   fileState
	age  uint8
	next uint8 // it covers the rows before this sequence
}

type phase uint8

const (
	down     phase = iota // not started, crashed or fenced: it may claim
	claiming              // its claim is on its way
	running
	stopped // it refuses to go on; only a new start may try again
)

type saving uint8

const (
	notSaving saving = iota
	written          // segments are in the store, the manifest is not
	swapping         // the manifest is, and the head is on its way
)

// owner is one process with the partition's loop, its saver, its compactor, its
// sweeper and its purge.
type owner struct {
	phase  phase
	saving saving
	ids    uint8 // commit ids it has used
	live   bool  // it has a consumer of the log

	owned      uint8 // ticks since the claim, at most lease
	head       head  // as last swapped
	rev        uint8
	next, era  uint8 // position
	rows       uint8 // of the tail, since the last commit began
	seen       uint8 // frames read since the claim, and the one that the head named then
	fromStart  bool  // it named none
	frozen     uint8 // of the commit in flight
	frozenNext uint8 // position of the commit in flight
	frozenEra  uint8
	seg        uint8 // slot + 1 that it wrote, 0: none
	withEdit   bool  // it carries the compaction
	want       head  // the put whose outcome is not known
	expected   uint8

	merge   merge
	dropped [lease + 1]uint32 // files that no manifest names, by ticks since they were dropped
	sweeps  uint8             // file + 1 that it is about to delete
	purges  uint8             // sequence to which it is about to purge
}

// merge is a compaction from its output's being written to the commit that carries it.
type merge struct {
	epoch  uint8 // 0: none
	out    uint8 // slot of the output
	inputs uint16
	base   uint16 // segments of the manifest it began with, for the variant that puts that back
}

type step uint8

const (
	idle step = iota
	asking
	answered
	standing // the head was read again: what it was told may be used
)

// query is the one reader: an answer of an owner, and then the files it names.
type query struct {
	step    step
	age     uint8
	owner   uint8
	goal    uint8 // last sequence of the log when it asked
	goalEra uint8 // of that frame
	era     uint8 // whether the log had been cut then
	epoch   uint8
	man     uint8 // slot + 1
	rows    uint8 // of the tail
}

// violation says which promise a move has broken.
type violation uint8

const (
	none violation = iota
	positionBack
	twoFromOneRevision
	guessedHead
	guessedLog
	purgedNeeded
	shortAnswer
	doubleAnswer
	sweptBeneathReader
	restoredWrong
	stoppedForNothing
)

var violations = [...]string{
	none:               "",
	positionBack:       "the position in the bucket went back",
	twoFromOneRevision: "two heads were stored from one revision",
	guessedHead:        "a head began anew although something was committed",
	guessedLog:         "an owner read on in a log that is not the one it had read",
	purgedNeeded:       "a frame was purged that no manifest holds or a head needs",
	shortAnswer:        "a query was answered without a row that was acknowledged before",
	doubleAnswer:       "a query was answered with a row twice",
	sweptBeneathReader: "a file was deleted beneath a query within its lease",
	restoredWrong:      "an owner restored other rows than its head has committed",
	stoppedForNothing:  "the owner stopped although nothing was wrong",
}

// rowOf is the bit of the row that reading the frame of a sequence and era gives.
func rowOf(seq, era uint8) uint8 { return 1 << (seq - 1 + mostFrames*era) }

// Files of all kinds are numbered: segments, manifests, snapshots.
const files = 2*fileSlots + mostEpochs

func manifestFile(slot uint8) uint8  { return fileSlots + slot }
func snapshotFile(epoch uint8) uint8 { return 2*fileSlots + epoch - 1 }

// fileAt tells of file i whether it is there, its age and the epoch in its path.
func (s *state) fileAt(i uint8) (st fileState, age, epoch uint8) {
	switch {
	case i < fileSlots:
		return s.segs[i].st, s.segs[i].age, i/perEpoch + 1
	case i < 2*fileSlots:
		return s.mans[i-fileSlots].st, s.mans[i-fileSlots].age, (i-fileSlots)/perEpoch + 1
	}
	f := &s.snap[i-2*fileSlots]
	return f.st, f.age, i - 2*fileSlots + 1
}

// deleteFile leaves nothing but that there was a file: its name is never used again.
func (s *state) deleteFile(i uint8) {
	switch {
	case i < fileSlots:
		s.segs[i] = segment{st: swept}
	case i < 2*fileSlots:
		s.mans[i-fileSlots] = manifest{st: swept}
	default:
		s.snap[i-2*fileSlots] = snapshot{st: swept}
	}
}

// named is the set of files that the manifest in a slot names, itself included.
func (s *state) named(slot uint8) uint32 {
	m := &s.mans[slot]
	set := uint32(m.segs) | 1<<manifestFile(slot)
	if m.snap > 0 {
		set |= 1 << snapshotFile(m.snap)
	}
	return set
}

// allThere reports whether every file of a set is in the store.
func (s *state) allThere(set uint32) bool {
	for i := range uint8(files) {
		if set&(1<<i) == 0 {
			continue
		}
		if st, _, _ := s.fileAt(i); st != there {
			return false
		}
	}
	return true
}

// sumRows unites the rows of segments; twice tells whether one is in two of them.
func (s *state) sumRows(segs uint16) (rows uint8, twice bool) {
	for i := range fileSlots {
		if segs&(1<<i) != 0 {
			twice = twice || rows&s.segs[i].rows != 0
			rows |= s.segs[i].rows
		}
	}
	return rows, twice
}

// created is when the stream of the model was; it is never replaced.
var created = time.Unix(1_700_000_000, 0).UTC()

func crcOf(seq, era uint8) uint32 { return uint32(seq)<<8 | uint32(era) + 1 }

// expand makes the head that the transition functions take.
func (h head) expand() gridloom.Head {
	x := gridloom.Head{
		Format: gridloom.HeadFormat, Generation: 1, Epoch: uint64(h.epoch), Owner: letter(h.owner), CommitID: letter(h.id),
		NextSeq: uint64(h.next), StreamCreated: created, LogTime: gridloom.Millis(h.next),
	}
	if h.next > 1 {
		x.LastRef = gridloom.FrameRef{Seq: uint64(h.next - 1), CRC: crcOf(h.next-1, h.era)}
	}
	if h.man > 0 {
		x.Manifest.Path = letter(h.man)
	}
	return x
}

// pack is the reverse of expand.
func pack(x *gridloom.Head) head {
	h := head{epoch: uint8(x.Epoch), owner: x.Owner[0], id: x.CommitID[0], next: uint8(x.NextSeq)}
	if x.LastRef.Seq > 0 {
		h.era = uint8(x.LastRef.CRC) - 1
	}
	if x.Manifest.Path != "" {
		h.man = x.Manifest.Path[0]
	}
	return h
}

var letters = func() (l [256]string) {
	for i := range l {
		l[i] = string([]byte{byte(i)})
	}
	return l
}()

// letter is a name of one byte.
func letter(b uint8) string { return letters[b] }

func (h head) String() string {
	text := fmt.Sprintf("epoch %d of %s, next %d", h.epoch, ownerName(h.owner), h.next)
	if h.era > 0 {
		text += "'"
	}
	if h.man > 0 {
		text += ", " + fileName(manifestFile(h.man-1))
	}
	return text
}

func ownerName(o uint8) string { return string(rune('A' + o)) }

func fileName(i uint8) string {
	switch {
	case i < fileSlots:
		return fmt.Sprintf("e%d/segment-%d", i/perEpoch+1, i%perEpoch+1)
	case i < 2*fileSlots:
		i -= fileSlots
		return fmt.Sprintf("e%d/manifest-%d", i/perEpoch+1, i%perEpoch+1)
	}
	return fmt.Sprintf("e%d/snapshot", i-2*fileSlots+1)
}

func fileNames(set uint32) string {
	var names []string
	for i := range uint8(files) {
		if set&(1<<i) != 0 {
			names = append(names, fileName(i))
		}
	}
	return strings.Join(names, " ")
}

func rowNames(rows uint8) string {
	var names []string
	for era := range uint8(2) {
		for seq := uint8(1); seq <= mostFrames; seq++ {
			if rows&rowOf(seq, era) != 0 {
				names = append(names, fmt.Sprintf("%d%s", seq, strings.Repeat("'", int(era))))
			}
		}
	}
	return "{" + strings.Join(names, " ") + "}"
}
