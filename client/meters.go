package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"

	"github.com/gridloom/gridloom"
)

// Meter is a row of /api/v1/meters.
type Meter struct {
	Meter     string
	Serial    string   // of the device that reported last, "" if not told
	Registers []string // aliases, by OBIS code
	LastAt    gridloom.Millis
}

// UnmarshalJSON reads a row of the REST API.
func (m *Meter) UnmarshalJSON(b []byte) error {
	var row struct {
		Meter     string   `json:"meter"`
		Serial    string   `json:"serial"`
		Registers []string `json:"registers"`
		LastAt    instant  `json:"last_at"`
	}
	if err := json.Unmarshal(b, &row); err != nil {
		return err
	}
	*m = Meter{row.Meter, row.Serial, row.Registers, gridloom.Millis(row.LastAt)}
	return nil
}

// Meters yields the meters that have reported, by id. An empty prefix is all.
func (c *Client) Meters(ctx context.Context, prefix string) iter.Seq2[Meter, error] {
	v := url.Values{}
	if prefix != "" {
		v.Set("prefix", prefix)
	}
	return rows[Meter](ctx, c, "/api/v1/meters", v)
}
