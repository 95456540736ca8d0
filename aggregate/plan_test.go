package aggregate

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

var planLimits = mergeLimits{files: 64, bytes: 128 << 20, large: 32 << 20}

// planner plays commits and merges on a list of segments.
type planner struct {
	t       *testing.T
	list    []pane.Segment
	commits int // numbers segments
	sizes   func() (rows, bytes int64)
	wrote   map[string]int // how often the rows of a segment were written
}

func (p *planner) commit(at gridloom.Millis) {
	p.commits++
	rows, bytes := p.sizes()
	name := fmt.Sprint("c", p.commits)
	p.list = append(p.list, pane.Segment{Path: name, Kind: pane.KindRaw, Rows: rows, Bytes: bytes, MinSeq: uint64(p.commits), MaxSeq: uint64(p.commits), MinLogged: at, MaxLogged: at})
	p.wrote[name] = 1
}

// settle does every merge that is due, as the compactor would, and checks each.
func (p *planner) settle(now gridloom.Millis, limit mergeLimits) {
	p.t.Helper()
	for range 10_000 {
		m, ok := nextMerge(p.list, now, limit, nil)
		if !ok {
			return
		}
		inputs := map[string]bool{}
		var memory int64
		out := pane.Segment{Path: fmt.Sprint("m", p.commits, "-", len(p.wrote)), Kind: pane.KindRaw, Level: m.level, MinSeq: m.inputs[0].MinSeq, MinLogged: m.inputs[0].MinLogged}
		times := 0
		for i, g := range m.inputs {
			if g.Level >= m.level || g.Level != m.inputs[0].Level {
				p.t.Fatalf("merge to level %d of %+v", m.level, m.inputs)
			}
			if i > 0 && g.MinSeq != m.inputs[i-1].MaxSeq+1 {
				p.t.Fatalf("inputs %d and %d are no neighbours: %+v", i-1, i, m.inputs)
			}
			inputs[g.Path] = true
			memory += g.MergeBytes()
			out.Rows, out.Bytes, out.MaxSeq = out.Rows+g.Rows, out.Bytes+g.Bytes/3+1, g.MaxSeq
			out.MaxLogged = max(out.MaxLogged, g.MaxLogged)
			times = max(times, p.wrote[g.Path])
		}
		files := limit.files
		if m.level == levelDay {
			files *= 2
		}
		if len(m.inputs) > 1 && (memory > limit.bytes || len(m.inputs) > files) {
			p.t.Fatalf("a merge of %d inputs and %d bytes of memory", len(m.inputs), memory)
		}
		list, found := pane.ReplaceSegments(p.list, inputs, []pane.Segment{out})
		if found != len(m.inputs) {
			p.t.Fatalf("found %d of %d inputs", found, len(m.inputs))
		}
		p.list, p.wrote[out.Path] = list, times+1
		if times+1 > 3 {
			p.t.Fatalf("a row is written %d times", times+1)
		}
	}
	p.t.Fatal("10,000 merges, and still one is due")
}

// TestMergesAreFewAndSmall plays weeks of commits of very different sizes: every merge
// is of neighbours and bounded, each row is written three times at most, and what is
// left are few segments a day and nothing uncompressed that is older than the hour.
func TestMergesAreFewAndSmall(t *testing.T) {
	const day0 = 1_769_990_400_000 - 1_769_990_400_000%gridloom.Day
	f := func(name string, span, every gridloom.Millis, most int, sizes func(*rand.Rand) (rows, bytes int64)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(uint64(span), 5))
			p := planner{t: t, wrote: map[string]int{}, sizes: func() (int64, int64) { return sizes(rnd) }}
			now := day0
			for end := now + span; now < end; {
				for range 1 + rnd.IntN(20) { // the compactor looks now and then
					p.commit(now)
					now += every/2 + gridloom.Millis(rnd.Int64N(int64(every)))
				}
				p.settle(now, planLimits)
				committed := 0
				for i, g := range p.list {
					if i > 0 && g.MinSeq != p.list[i-1].MaxSeq+1 {
						t.Fatalf("%s does not follow %s", g.Path, p.list[i-1].Path)
					}
					if g.Level == levelCommitted {
						if committed++; g.MaxLogged < now.Floor(gridloom.Hour) {
							t.Fatalf("at %s a segment of %s is not merged", now, g.MaxLogged)
						}
					}
				}
				if committed >= planLimits.files {
					t.Fatalf("%d committed segments wait", committed)
				}
			}
			if len(p.list) > most {
				t.Errorf("%d segments after %s, want at most %d", len(p.list), span.Duration(), most)
			}
		})
	}
	f("one meter, rarely", 60*gridloom.Day, 20*gridloom.Minute, 60+24+64, func(*rand.Rand) (int64, int64) { return 10, 3000 })
	f("a village", 10*gridloom.Day, 15*gridloom.Second, 10*7+96+64, func(r *rand.Rand) (int64, int64) { n := 200 + r.Int64N(800); return n, 16 * n })
	f("a city", gridloom.Day, 15*gridloom.Second, 700, func(r *rand.Rand) (int64, int64) { n := 100_000 + r.Int64N(50_000); return n, 16 * n })
	f("full rate", 2*gridloom.Hour, gridloom.Second, 800, func(r *rand.Rand) (int64, int64) { n := 240_000 + r.Int64N(20_000); return n, 16 * n })
	f("bursts", 10*gridloom.Day, 15*gridloom.Second, 300, func(r *rand.Rand) (int64, int64) {
		n := int64(1)
		if r.IntN(500) == 0 {
			n = 262_144
		}
		return n, 16*n + 1000
	})
}

// TestMergesGoAroundDamage: a segment that cannot be read is never an input, and those
// on its two sides are not merged with one another.
func TestMergesGoAroundDamage(t *testing.T) {
	const t0 = 1_769_990_400_000
	var list []pane.Segment
	for i := range 9 {
		list = append(list, pane.Segment{Path: fmt.Sprint(i), Kind: pane.KindRaw, Rows: 1, Bytes: 1000, MaxLogged: t0 + gridloom.Millis(i)*gridloom.Second})
	}
	skip := map[string]bool{"4": true}
	m, ok := nextMerge(list, t0+2*gridloom.Hour, planLimits, skip)
	if !ok || len(m.inputs) != 4 || m.inputs[0].Path != "0" {
		t.Fatalf("first merge is of %v, %v, want 0 to 3", pathsOf(m.inputs), ok)
	}
	m, ok = nextMerge(list[4:], t0+2*gridloom.Hour, planLimits, skip)
	if !ok || len(m.inputs) != 4 || m.inputs[0].Path != "5" {
		t.Fatalf("second merge is of %v, %v, want 5 to 8", pathsOf(m.inputs), ok)
	}
}
