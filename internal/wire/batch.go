package wire

import (
	"encoding/binary"
	"slices"

	"github.com/gridloom/gridloom"
)

// Batch is what an agent publishes in one message: readings that share an agent,
// an epoch and a seq. The schema for other languages is reading.proto.
type Batch struct {
	Agent      string // "" if not told
	Epoch, Seq uint32
	HasOrder   bool // agent, epoch and seq are all given: rows rank as ClassDevice

	// Columns holds the rows. AppendBatch writes their agents and orders only as
	// Agent, Epoch and Seq.
	Columns *Columns

	// Now is ingest's clock for DecodeBatch, which refuses what lies ahead of it; 0 knows no future.
	Now gridloom.Millis
	// Objects is set by DecodeBatch: how many distinct (meter, instant) the message stated one after the other.
	Objects int
}

// Fields of a batch and of its series (reading.proto). Frozen.
const (
	batchAgent  = 1
	batchEpoch  = 2
	batchSeq    = 3
	batchSeries = 4

	seriesMeter      = 1
	seriesRegister   = 2
	seriesBase       = 3
	seriesAt         = 4
	seriesValue      = 5
	seriesQuality    = 6
	seriesQualityRun = 7
	seriesLength     = 8
	seriesUnit       = 9
	seriesSerial     = 10
	seriesVoid       = 11
)

// seriesScratch is AppendBatch's and DecodeBatch's working memory.
type seriesScratch struct {
	open   map[uint64]int32 // meter and register → its newest group
	groups []group
	next   []int32 // row → the next one of its group, -1 at the end
	body   []byte

	at       []gridloom.Millis // instants of the newest series that stated its own
	delta    []uint64          // and their deltas, as they stand in the message
	value    []uint64
	quality  []uint64
	runs     []uint64
	void     []uint64
	previous []gridloom.Millis

	named [maxNamed]namedRegister // registers of an object by their places in it
}

// group is a series to be written: rows of one meter, register, length and serial.
type group struct{ first, last, rows int32 }

// AppendBatch appends b's rows as columns by series. Rows of one series keep their
// order; series come in the order of their first rows.
func AppendBatch(dst []byte, b *Batch) []byte {
	if b.Agent != "" {
		dst = appendString(dst, batchAgent, b.Agent)
	}
	if b.HasOrder {
		dst = appendUint(dst, batchEpoch, uint64(b.Epoch))
		dst = appendUint(dst, batchSeq, uint64(b.Seq))
	}
	c := b.Columns
	if c == nil || c.Len() == 0 {
		return dst
	}
	s := &c.scratch.series
	s.gather(c)
	s.previous = s.previous[:0]
	meter := int64(-1)
	for _, g := range s.groups {
		body := s.body[:0]
		if m := c.Meter[g.first]; int64(m) != meter {
			meter = int64(m)
			body = appendString(body, seriesMeter, c.Meters[m])
		}
		body = s.appendSeries(body, c, g)
		s.body = body
		dst = appendString(dst, batchSeries, body)
	}
	return dst
}

// gather links the rows of each group.
func (s *seriesScratch) gather(c *Columns) {
	n := c.Len()
	s.groups = s.groups[:0]
	s.next = sized(s.next, n)
	if s.open == nil {
		s.open = make(map[uint64]int32)
	}
	clear(s.open)
	for i := range n {
		s.next[i] = -1
		key := uint64(c.Meter[i])<<16 | uint64(c.Register[i])
		if k, ok := s.open[key]; ok {
			g := &s.groups[k]
			if c.Length[i] == c.Length[g.last] && c.Serial[i] == c.Serial[g.last] {
				s.next[g.last] = int32(i)
				g.last = int32(i)
				g.rows++
				continue
			}
		}
		s.open[key] = int32(len(s.groups))
		s.groups = append(s.groups, group{int32(i), int32(i), 1})
	}
}

// appendSeries writes all of a series but its meter.
func (s *seriesScratch) appendSeries(dst []byte, c *Columns, g group) []byte {
	dst = appendString(dst, seriesRegister, c.Register[g.first].Info().Code)
	s.at = s.at[:0]
	for i := g.first; i >= 0; i = s.next[i] {
		s.at = append(s.at, c.Start[i])
	}
	var at int
	if !slices.Equal(s.at, s.previous) {
		dst = appendUint(dst, seriesBase, zigzag(int64(s.at[0])))
		if len(s.at) > 1 {
			dst, at = openBytes(dst, seriesAt)
			for k, t := range s.at[1:] {
				dst = binary.AppendUvarint(dst, zigzag(int64(t-s.at[k])))
			}
			dst = closeBytes(dst, at)
		}
		s.previous = append(s.previous[:0], s.at...)
	}
	dst, at = openBytes(dst, seriesValue)
	before := int64(0)
	voids, qualities := false, false
	for i := g.first; i >= 0; i = s.next[i] {
		v := c.Value[i]
		if c.Void[i] {
			v, voids = before, true
		}
		qualities = qualities || c.Quality[i] != 0
		dst = binary.AppendUvarint(dst, zigzag(v-before))
		before = v
	}
	dst = closeBytes(dst, at)
	if qualities {
		dst = s.appendQualities(dst, c, g)
	}
	if l := c.Length[g.first]; l != 0 {
		dst = appendUint(dst, seriesLength, uint64(l))
	}
	if k := c.Serial[g.first]; k != 0 {
		dst = appendString(dst, seriesSerial, c.Serials[k])
	}
	if voids {
		dst, at = openBytes(dst, seriesVoid)
		for i, k := g.first, uint64(0); i >= 0; i, k = s.next[i], k+1 {
			if c.Void[i] {
				dst = binary.AppendUvarint(dst, k)
			}
		}
		dst = closeBytes(dst, at)
	}
	return dst
}

// appendQualities writes runs of equal quality.
func (s *seriesScratch) appendQualities(dst []byte, c *Columns, g group) []byte {
	s.quality, s.runs = s.quality[:0], s.runs[:0]
	for i := g.first; i >= 0; i = s.next[i] {
		q := uint64(c.Quality[i])
		if k := len(s.quality); k > 0 && s.quality[k-1] == q {
			s.runs[k-1]++
			continue
		}
		s.quality, s.runs = append(s.quality, q), append(s.runs, 1)
	}
	dst, at := openBytes(dst, seriesQuality)
	for _, q := range s.quality {
		dst = binary.AppendUvarint(dst, q)
	}
	dst = closeBytes(dst, at)
	dst, at = openBytes(dst, seriesQualityRun)
	for _, n := range s.runs {
		dst = binary.AppendUvarint(dst, n)
	}
	return closeBytes(dst, at)
}
