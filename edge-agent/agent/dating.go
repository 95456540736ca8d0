package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/edge-agent/device"
	"github.com/gridloom/gridloom/edge-agent/spool"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/wire"
)

// dating turns instants that count from a boot into instants. What it decides
// about a boot is durable before it is used, so that a batch that is sent again
// says the same. Used by the publisher's goroutine.
type dating struct {
	fs    blob.FS
	path  string
	clock *device.Clock
	agent string
	log   *slog.Logger

	boots   map[string]anchor
	earlier []spool.HeldBoot // in the spool when it was opened, oldest first
	rows    wire.Columns
	failing bool
}

// anchor is what to add to the instants of a boot.
type anchor struct {
	Offset  gridloom.Millis `json:"offset_ms"`
	Suspect bool            `json:"suspect"` // the clock was not known to be right, or the device has restarted since
}

const datingName = "boots.json"

func (d *dating) open(cfg *Config, sp *spool.Spool) error {
	*d = dating{
		fs: cfg.FS, path: filepath.Join(cfg.Dir, datingName), clock: cfg.Clock, agent: cfg.Agent, log: cfg.Logger,
		boots: map[string]anchor{}, earlier: sp.HeldBoots(),
	}
	data, err := blob.ReadFile(d.fs, d.path, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("dating of readings: %w", err)
	}
	if err := json.Unmarshal(data, &d.boots); err != nil {
		d.log.Error("dating of earlier readings is damaged: what is left of them is dated anew", "file", d.path, "err", err)
		d.boots = nil
	}
	if d.boots == nil {
		d.boots = map[string]anchor{}
	}
	for boot := range d.boots { // boots of which nothing is left are forgotten
		if boot != d.clock.Boot && !slices.ContainsFunc(d.earlier, func(h spool.HeldBoot) bool { return h.Boot == boot }) {
			delete(d.boots, boot)
		}
	}
	return nil
}

// anchor returns how to date readings of a boot; ok is false if that is not known yet.
func (d *dating) anchor(boot string) (a anchor, ok bool) {
	if a, ok = d.boots[boot]; ok {
		return a, true
	}
	trust := d.clock.Trust()
	if trust == device.Undated {
		return a, false
	}
	own := anchor{d.clock.Offset(), trust == device.Doubtful}
	fresh := map[string]anchor{}
	if boot == d.clock.Boot {
		fresh[boot] = own
	} else {
		// The device restarted before its clock was set. The distances within a boot are
		// known; the boots are laid one before the other, the last one before this one.
		end := own.Offset + device.BootBase
		for _, h := range slices.Backward(d.earlier) {
			if h.Boot == d.clock.Boot {
				continue
			}
			if known, ok := d.boots[h.Boot]; ok {
				end = min(end, known.Offset+device.BootBase)
				continue
			}
			if _, ok := fresh[h.Boot]; !ok {
				fresh[h.Boot] = anchor{end - h.Last, true}
			}
			end = fresh[h.Boot].Offset + device.BootBase
		}
		if _, ok := fresh[boot]; !ok { // not in the spool at the start: cannot be
			fresh[boot] = anchor{own.Offset, true}
		}
	}
	if err := d.save(fresh); err != nil {
		if !d.failing {
			d.log.Error("readings made before the clock was set have to wait", "err", err)
		}
		d.failing = true
		return a, false
	}
	d.failing = false
	for b, a := range fresh {
		d.log.Info("readings made before the clock was set are dated", "boot", b, "booted", (a.Offset + device.BootBase).String(), "suspect", a.Suspect)
	}
	return d.boots[boot], true
}

// save adds what was decided to the file.
func (d *dating) save(fresh map[string]anchor) error {
	all := maps.Clone(d.boots)
	maps.Copy(all, fresh)
	data, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := spool.SaveFile(d.fs, d.path, append(data, '\n')); err != nil {
		return err
	}
	d.boots = all
	return nil
}

// date returns a held record's payload with its instants, under the epoch and seq
// that it was sealed with; ok is false if the clock has to be set first.
func (d *dating) date(r *spool.Record) (payload []byte, ok bool, err error) {
	a, ok := d.anchor(r.Boot)
	if !ok {
		return nil, false, nil
	}
	batch := wire.Batch{Columns: &d.rows}
	d.rows.Reset()
	err = wire.DecodeBatch(r.Payload, &batch, func(place, reason, detail string) {
		d.log.Error("a reading of the spool cannot be dated and is left out", "epoch", r.Epoch, "seq", r.Seq, "place", place, "err", reason+": "+detail)
	})
	if err != nil {
		return nil, true, err
	}
	for i := range d.rows.Start {
		d.rows.Start[i] += a.Offset
		if a.Suspect {
			d.rows.Quality[i] |= gridloom.ClockSuspect
		}
	}
	return wire.AppendBatch(nil, &wire.Batch{Agent: d.agent, Epoch: r.Epoch, Seq: r.Seq, HasOrder: true, Columns: &d.rows}), true, nil
}
