package pane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/gridloom/gridloom"
)

// DescribeOptions say how much is printed and in which form.
type DescribeOptions struct {
	JSON bool     // one JSON object instead of text
	Rows int      // rows of a segment to print, none if 0, all if less than 0
	Only Selector // of those
}

// segmentFacts is what is printed of a segment.
type segmentFacts struct {
	Bytes   int               `json:"bytes"`
	CRC     string            `json:"crc"`
	Notes   map[string]string `json:"notes"`
	Rows    int64             `json:"rows"`
	Groups  []groupFacts      `json:"row_groups"`
	Columns []columnFacts     `json:"columns"`
	Sample  []any             `json:"sample,omitempty"`
}

type groupFacts struct {
	Rows      int64        `json:"rows"`
	Registers [2]string    `json:"registers,omitzero"` // first and last; of records neither
	Meters    [2]string    `json:"meters,omitzero"`
	Keys      [2]string    `json:"keys,omitzero"` // of records
	Starts    *[2]gridTime `json:"starts,omitempty"`
	Bytes     int64        `json:"bytes"`
}

type columnFacts struct {
	Name      string   `json:"name"`
	Type      string   `json:"type"`
	Nullable  bool     `json:"nullable"`
	Encodings []string `json:"encodings"`
	Bytes     int64    `json:"bytes"` // stored, all row groups
}

// gridTime prints as an instant.
type gridTime gridloom.Millis

// MarshalText implements encoding.TextMarshaler.
func (t gridTime) MarshalText() ([]byte, error) { return []byte(gridloom.Millis(t).String()), nil }

// DescribeSegment prints what a segment's file says of itself, and rows of it. The
// crc is that of data, for comparison with the manifest's; nothing is checked
// against it. Bytes that are no segment of this format are ErrCorrupt.
func DescribeSegment(w io.Writer, data []byte, opt DescribeOptions) error {
	facts, err := describeSegment(data, opt)
	if err != nil {
		return fmt.Errorf("%w: not a segment: %w", gridloom.ErrCorrupt, err)
	}
	if opt.JSON {
		return printJSON(w, facts)
	}
	return facts.print(w)
}

func describeSegment(data []byte, opt DescribeOptions) (facts *segmentFacts, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = libraryPanic(r)
		}
	}()
	mem := memory.NewGoAllocator()
	d, err := newDecoder(mem, data, nil)
	if err != nil {
		return nil, err
	}
	facts = &segmentFacts{Bytes: len(data), CRC: fmt.Sprintf("%08x", crc32.Checksum(data, castagnoli)), Notes: map[string]string{}}
	if kv := d.r.MetaData().KeyValueMetadata(); kv != nil {
		for i, k := range kv.Keys() {
			facts.Notes[k] = kv.Values()[i]
		}
	}
	if err := facts.addGroups(d); err != nil {
		return nil, err
	}
	if opt.Rows != 0 {
		err = facts.addSample(mem, data, opt)
	}
	return facts, err
}

func (f *segmentFacts) addGroups(d *decoder) error {
	schema := d.r.MetaData().Schema
	for c := range schema.NumColumns() {
		col := schema.Column(c)
		kind := col.PhysicalType().String()
		if l := col.LogicalType(); l != nil && !l.IsNone() {
			kind += " " + l.String()
		}
		f.Columns = append(f.Columns, columnFacts{Name: col.Name(), Type: kind, Nullable: col.MaxDefinitionLevel() > 0})
	}
	for i := range d.groups() {
		if err := d.open(i); err != nil {
			return err
		}
		g := groupFacts{Rows: int64(d.rows)}
		if Kind(f.Notes["gridloom.kind"]).HoldsRecords() {
			g.Keys[0], g.Keys[1], _ = stringBounds(d.group, recordKey)
		} else {
			g.Registers[0], g.Registers[1], _ = stringBounds(d.group, colRegister)
			g.Meters[0], g.Meters[1], _ = stringBounds(d.group, colMeter)
		}
		if len(f.Columns) > colStart && f.Columns[colStart].Name == "start" {
			if first, last, ok := intBounds(d.group, colStart); ok {
				g.Starts = &[2]gridTime{gridTime(first), gridTime(last)}
			}
		}
		for c := range f.Columns {
			chunk, err := d.group.ColumnChunk(c)
			if err != nil {
				return err
			}
			g.Bytes += chunk.TotalCompressedSize()
			f.Columns[c].Bytes += chunk.TotalCompressedSize()
			if i == 0 {
				for _, e := range chunk.Encodings() {
					f.Columns[c].Encodings = append(f.Columns[c].Encodings, e.String())
				}
			}
		}
		f.Rows += g.Rows
		f.Groups = append(f.Groups, g)
	}
	return nil
}

// errEnough ends the reading of a sample.
var errEnough = errors.New("enough rows")

func (f *segmentFacts) addSample(mem memory.Allocator, data []byte, opt DescribeOptions) error {
	add := func(row any) error {
		f.Sample = append(f.Sample, row)
		if len(f.Sample) == opt.Rows {
			return errEnough
		}
		return nil
	}
	ctx := context.Background()
	var err error
	switch kind := Kind(f.Notes["gridloom.kind"]); kind {
	case KindRaw, KindExpired:
		_, err = decodeRaw(ctx, mem, data, &opt.Only, func(r *gridloom.Reading) error { return add(sampleReading(r)) })
	case KindPane:
		_, err = decodePanes(ctx, mem, data, &opt.Only, AllColumns, func(p *gridloom.Pane) error { return add(samplePane(p)) })
	case KindSnapshot:
		_, err = decodeSnapshot(ctx, mem, data, func(r *SnapshotRow) error { return add(sampleState(r)) })
	case KindRegistry, KindAudit:
		_, err = decodeRecords(ctx, mem, data, &opt.Only, func(r *Record) error { return add(sampleRecord(r)) })
	default:
		return fmt.Errorf("kind %q is not known to this build", kind)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// pairs are the columns of a row in order; they print as a JSON object.
type pairs []pair

type pair struct {
	name  string
	value any
}

// MarshalJSON implements json.Marshaler.
func (ps pairs) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	for i, p := range ps {
		b.WriteByte("{,"[min(i, 1)])
		v, err := json.Marshal(p.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", p.name, v)
	}
	return []byte(b.String() + "}"), nil
}

func sampleReading(r *gridloom.Reading) pairs {
	var value any
	if !r.Void {
		value = r.Value
	}
	return pairs{
		{"register", r.Register.Info().Code},
		{"meter", r.Meter},
		{"start", gridTime(r.Start)},
		{"length", r.Length},
		{"value", value},
		{"quality", r.Quality.Names()},
		{"order", r.Order.String()},
		{"sequence", r.Sequence},
		{"place", r.Place},
		{"logged_at", gridTime(r.LoggedAt)},
		{"serial", r.Serial},
		{"agent", r.Agent},
	}
}

func samplePane(p *gridloom.Pane) pairs {
	ps := pairs{
		{"register", p.Register.Info().Code},
		{"meter", p.Meter},
		{"start", gridTime(p.Start)},
		{"length", p.Length},
		{"revision", p.Revision},
		{"computed_at", gridTime(p.ComputedAt)},
		{"closed", p.Closed},
		{"n", p.N},
		{"coverage", p.Coverage},
		{"quality", p.Quality.Names()},
	}
	if p.N > 0 {
		ps = append(ps, pairs{
			{"sum", p.Sum},
			{"min", p.Min},
			{"max", p.Max},
			{"first", p.First},
			{"last", p.Last},
			{"first_at", gridTime(p.FirstAt)},
			{"last_at", gridTime(p.LastAt)},
		}...)
	}
	if p.TimeWeighted != (gridloom.Int128{}) {
		ps = append(ps, pair{"time_weighted", p.TimeWeighted.Float()})
	}
	if p.HasEnergy {
		ps = append(ps, pair{"energy", p.Energy})
	}
	if p.Carry != nil {
		ps = append(ps, pair{"carry", append([]byte{}, p.Carry...)})
	}
	return ps
}

func sampleState(r *SnapshotRow) pairs {
	return pairs{{"register", r.Register.Info().Code}, {"meter", r.Meter}, {"state", append([]byte{}, r.State...)}, {"dials", r.Dials}, {"rating", r.Rating}}
}

func sampleRecord(r *Record) pairs {
	return pairs{{"key", r.Key}, {"sequence", r.Sequence}, {"place", r.Place}, {"logged_at", gridTime(r.LoggedAt)}, {"body", string(r.Body)}}
}

func (f *segmentFacts) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "kind\t%s\nrows\t%d\nbytes\t%d\ncrc\t%s\n", f.Notes["gridloom.kind"], f.Rows, f.Bytes, f.CRC)
	for _, k := range []string{"format", "level", "generation", "partition", "epoch"} {
		fmt.Fprintf(t, "%s\t%s\n", k, f.Notes["gridloom."+k])
	}
	records := Kind(f.Notes["gridloom.kind"]).HoldsRecords()
	if records {
		fmt.Fprintf(t, "\nrow group\trows\tbytes\tkeys\n")
	} else {
		fmt.Fprintf(t, "\nrow group\trows\tbytes\tregisters\tmeters\tstarts\n")
	}
	for i, g := range f.Groups {
		if records {
			fmt.Fprintf(t, "%d\t%d\t%d\t%s .. %s\n", i, g.Rows, g.Bytes, g.Keys[0], g.Keys[1])
			continue
		}
		starts := ""
		if g.Starts != nil {
			starts = fmt.Sprintf("%s .. %s", gridloom.Millis(g.Starts[0]), gridloom.Millis(g.Starts[1]))
		}
		fmt.Fprintf(t, "%d\t%d\t%d\t%s .. %s\t%s .. %s\t%s\n", i, g.Rows, g.Bytes, g.Registers[0], g.Registers[1], g.Meters[0], g.Meters[1], starts)
	}
	fmt.Fprintf(t, "\ncolumn\tbytes\ttype\tencodings\n")
	for _, c := range f.Columns {
		null := ""
		if c.Nullable {
			null = " NULL"
		}
		fmt.Fprintf(t, "%s\t%d\t%s%s\t%s\n", c.Name, c.Bytes, c.Type, null, strings.Join(c.Encodings, " "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i, row := range f.Sample {
		if i == 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		line, err := json.Marshal(row)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s\n", line); err != nil {
			return err
		}
	}
	return nil
}

// DescribeManifest prints the root of a manifest. Other bytes are ErrCorrupt.
func DescribeManifest(w io.Writer, data []byte, opt DescribeOptions) error {
	m, err := decodeManifest(data)
	if err != nil {
		return fmt.Errorf("%w: not a manifest: %w", gridloom.ErrCorrupt, err)
	}
	if opt.JSON {
		return printJSON(w, m)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	h := &m.Head
	fmt.Fprintf(t, "partition\t%d of generation %d\nepoch\t%d\nowner\t%s on %s\ncommit\t%s\n", h.Partition, h.Generation, h.Epoch, h.Owner, h.Node, h.CommitID)
	fmt.Fprintf(t, "next_seq\t%d\nlog_time\t%s\nsnapshot_seq\t%d\n", h.NextSeq, h.LogTime, m.SnapshotSeq)
	fmt.Fprintf(t, "width\t%s\nlateness\t%s\nbridge\t%s\nraw_from\t%s\npanes_from\t%s\n", m.Width.Duration(), m.Lateness.Duration(), m.Bridge.Duration(), m.RawFrom, m.PanesFrom)
	fmt.Fprintf(t, "readings\t%d\nduplicates\t%d\nexpired\t%d\nrecords\t%d\npanes\t%d\ncommits\t%d\ndropped files\t%d\n",
		m.Counts.Readings, m.Counts.Duplicates, m.Counts.Expired, m.Counts.Records, m.Counts.Panes, m.Counts.Commits, len(m.Dropped))
	fmt.Fprintf(t, "bytes\t%d\ncrc\t%08x\n", len(data), crc32.Checksum(data, castagnoli))
	fmt.Fprintf(t, "\nlist\tsegments\trows\tbytes\tlogged\tpath\n")
	for i := range m.Days {
		d := &m.Days[i]
		fmt.Fprintf(t, "depth %d\t%d\t%d\t%d\t%s .. %s\t%s\n", d.Depth, d.Segments, d.Rows, d.Bytes, d.MinLogged, d.MaxLogged, d.Path)
	}
	fmt.Fprintf(t, "\nkind\trows\tbytes\tsequences\tstarts\tmeters\tpath\n")
	segments := m.Recent
	if m.Snapshot != nil {
		segments = append(slices.Clip(segments), *m.Snapshot)
	}
	for i := range segments {
		g := &segments[i]
		fmt.Fprintf(t, "%s\t%d\t%d\t%d .. %d\t%s .. %s\t%s .. %s\t%s\n", g.Kind, g.Rows, g.Bytes, g.MinSeq, g.MaxSeq, g.MinStart, g.MaxEnd, g.MinMeter, g.MaxMeter, g.Path)
	}
	return t.Flush()
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
