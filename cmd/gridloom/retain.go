package main

import (
	"flag"
	"fmt"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate"
	"github.com/gridloom/gridloom/query"
)

// addRetentionFlags defines how long rows are kept, and how many.
func addRetentionFlags(fs *flag.FlagSet, r *aggregate.Retention) {
	fs.Func("retain-raw", "`span` for which readings are kept, such as 400d; 0, the default, is for ever", spanFlag(&r.Raw))
	fs.Func("retain-panes", "`span` for which panes are kept, at least that of --retain-raw; 0, the default, is for ever", spanFlag(&r.Panes))
	fs.Int64Var(&r.RawBytes, "retain-raw-bytes", 0, "`bytes` of readings in the store beyond which the oldest days go; 0 is no limit")
	fs.Int64Var(&r.PanesBytes, "retain-panes-bytes", 0, "`bytes` of panes in the store beyond which the oldest days go, and their readings; 0 is no limit")
}

// spanFlag reads a span as queries write it: 90m, 36h, 400d, 52w.
func spanFlag(to *time.Duration) func(string) error {
	return func(text string) error {
		if *to = 0; text == "0" {
			return nil
		}
		span, err := query.ParseSpan(text)
		*to = span.Duration()
		return err
	}
}

// minRetention is what the newest windows need: those that late readings come for, and that are not closed.
const minRetention = 24 * time.Hour

// maxRetention is what a time.Duration holds of years, and to spare.
const maxRetention = 250 * 365 * 24 * time.Hour

// checkRetention refuses what would keep nothing useful.
func checkRetention(r *aggregate.Retention) error {
	for _, f := range []struct {
		name string
		span time.Duration
	}{{"--retain-raw", r.Raw}, {"--retain-panes", r.Panes}} {
		if f.span != 0 && (f.span < minRetention || f.span > maxRetention) {
			return fmt.Errorf("%w: %s %s: want at least 1d and at most 250 years, or 0 to keep them for ever", errUsage, f.name, query.FormatSpan(gridloom.SpanOf(f.span)))
		}
	}
	switch {
	case r.RawBytes < 0 || r.PanesBytes < 0:
		return fmt.Errorf("%w: --retain-raw-bytes and --retain-panes-bytes want bytes, or 0 for no limit", errUsage)
	case r.Panes != 0 && (r.Raw == 0 || r.Panes < r.Raw):
		return fmt.Errorf("%w: --retain-panes %s is less than readings are kept (--retain-raw, 0 is for ever): keep panes at least as long", errUsage, query.FormatSpan(gridloom.SpanOf(r.Panes)))
	}
	return nil
}
