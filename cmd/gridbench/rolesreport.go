package main

import (
	"fmt"
	"io"
	"strings"
)

// rolesReport is what gridbench crash --roles prints; docs/benchmarks.md explains the keys.
type rolesReport struct {
	findings
	Acknowledged           int64              `json:"acknowledged"`
	Sent                   int64              `json:"sent"`
	KillsByRole            map[string]int     `json:"kills_by_role"`
	KillsByPoint           map[string]int     `json:"kills_by_point"`
	PointsMissed           int                `json:"points_missed"`
	Zombies                map[string]int     `json:"zombies"`
	RecoveryMsMax          map[string]float64 `json:"recovery_ms_max"`
	UnexpectedExits        int                `json:"unexpected_exits"`
	UncleanStops           int                `json:"unclean_stops"`
	RollingAnswerPauseMs   float64            `json:"rolling_answer_pause_ms,omitempty"`
	RollingPubackPauseMs   float64            `json:"rolling_puback_pause_ms,omitempty"`
	ScaleCycles            int                `json:"scale_cycles,omitempty"`
	ScalePauseMsMax        float64            `json:"scale_pause_ms_max,omitempty"`
	ScalePauseMsMedian     float64            `json:"scale_pause_ms_median,omitempty"`
	ScalePubackBeforeP99Ms float64            `json:"scale_puback_before_p99_ms,omitempty"`
	ScalePubackP99Ms       float64            `json:"scale_puback_p99_ms,omitempty"`
	Seconds                float64            `json:"seconds"`
	Seed                   uint64             `json:"seed"`
	Dir                    string             `json:"dir,omitempty"` // kept, because something was found
}

// verdict is errFound for a run that shows a fault.
func (r *rolesReport) verdict(cfg *crashConfig) error {
	switch {
	case !r.clean():
		return errFound
	case r.ScalePauseMsMax > float64(cfg.maxPause.Milliseconds()):
		return fmt.Errorf("a partition gave no answer for %.0f ms when owners changed as planned, more than %s: %w", r.ScalePauseMsMax, cfg.maxPause, errFound)
	case r.ScaleCycles > 0 && r.ScalePubackP99Ms > 2*r.ScalePubackBeforeP99Ms:
		return fmt.Errorf("PUBACK p99 was %.0f ms while owners changed and %.0f ms before: %w", r.ScalePubackP99Ms, r.ScalePubackBeforeP99Ms, errFound)
	}
	return nil
}

func (r *rolesReport) print(w io.Writer) error {
	text := fmt.Appendf(nil, `roles: %.0f s, seed %d
  %d readings acknowledged of %d sent; %d identities and %d windows checked
  lost %d, duplicated %d, altered %d, unsent %d, wrong_panes %d
  kills: %s
  by point: %s; %d points were not reached
  zombies: %s
  slowest recovery, ms: %s
  processes that ended by themselves %d, unclean stops %d
`, r.Seconds, r.Seed, r.Acknowledged, r.Sent, r.Readings, r.Panes, r.Lost, r.Duplicated, r.Altered, r.Unsent, r.WrongPanes,
		listed(r.KillsByRole, "%d"), listed(r.KillsByPoint, "%d"), r.PointsMissed, listed(r.Zombies, "%d"), listed(r.RecoveryMsMax, "%.0f"),
		r.UnexpectedExits, r.UncleanStops)
	if r.RollingAnswerPauseMs > 0 {
		text = fmt.Appendf(text, "  rolling restart: longest pause of answers %.0f ms, longest wait for a PUBACK %.0f ms\n", r.RollingAnswerPauseMs, r.RollingPubackPauseMs)
	}
	if r.ScaleCycles > 0 {
		text = fmt.Appendf(text, "  %d cycles of 1, 2, 4, 1 aggregates: longest pause of a partition %.0f ms (median %.0f), PUBACK p99 %.0f ms, before %.0f ms\n",
			r.ScaleCycles, r.ScalePauseMsMax, r.ScalePauseMsMedian, r.ScalePubackP99Ms, r.ScalePubackBeforeP99Ms)
	}
	if r.Dir != "" {
		text = fmt.Appendf(text, "  kept for a look: %s\n", r.Dir)
	}
	_, err := w.Write(text)
	return err
}

func listed[V any](m map[string]V, format string) string {
	var words []string
	for _, k := range sortedKeys(m) {
		words = append(words, fmt.Sprintf("%s "+format, k, m[k]))
	}
	if words == nil {
		return "none"
	}
	return strings.Join(words, ", ")
}
