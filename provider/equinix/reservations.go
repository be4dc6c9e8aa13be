package equinix

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path"

	"github.com/equinix/equinix-sdk-go/services/metalv1"
)

// reservationJSON is what Daymark reads of a reservation. The SDK decodes reservations strictly: one field that it
// doesn't know in one of them fails a whole list, so they are read here again from the same answer.
type reservationJSON struct {
	ID          string                 `json:"id"`
	Type        string                 `json:"type"`
	Address     string                 `json:"address"`
	Network     string                 `json:"network"`
	CIDR        int                    `json:"cidr"`
	State       string                 `json:"state"`
	Tags        []string               `json:"tags"`
	Metro       *struct{ Code string } `json:"metro"`
	Assignments []assignmentJSON       `json:"assignments"`
}

type assignmentJSON struct {
	ID         string       `json:"id"`
	Address    string       `json:"address"`
	CIDR       int          `json:"cidr"`
	AssignedTo metalv1.Href `json:"assigned_to"`
}

type reservationPage struct {
	Addresses []reservationJSON `json:"ip_addresses"`
	Meta      struct {
		CurrentPage int `json:"current_page"`
		LastPage    int `json:"last_page"`
	} `json:"meta"`
}

// Reservations implements [API].
func (c *Client) Reservations(ctx context.Context) ([]Reservation, error) {
	var out []Reservation
	for n := int32(1); n <= maxPages; n++ {
		var page reservationPage
		_, resp, err := c.api.IPAddressesApi.FindIPReservations(ctx, c.project).Include([]string{"assignments"}).Page(n).PerPage(perPage).Execute()
		if err := decodeAgain(resp, err, &page); err != nil {
			return nil, explain("listing reservations", resp, err)
		}
		for _, r := range page.Addresses {
			if got, ok := r.reservation(); ok {
				out = append(out, got)
			}
		}
		if page.Meta.LastPage <= page.Meta.CurrentPage {
			return out, nil
		}
	}
	return nil, fmt.Errorf("listing reservations: more than %d pages", maxPages)
}

// Reserve implements [API].
func (c *Client) Reserve(ctx context.Context, r ReserveRequest) (Reservation, error) {
	in := metalv1.NewIPReservationRequestInput(1, string(r.Kind))
	if r.Metro != "" {
		in.SetMetro(r.Metro)
	} else if r.Facility != "" {
		in.SetFacility(r.Facility)
	}
	in.SetTags(r.Tags)
	in.SetDetails(r.Details)
	in.SetFailOnApprovalRequired(true)
	var made reservationJSON
	_, resp, err := c.api.IPAddressesApi.RequestIPReservation(ctx, c.project).
		RequestIPReservationRequest(metalv1.IPReservationRequestInputAsRequestIPReservationRequest(in)).Execute()
	step := fmt.Sprintf("reserving a %s address", r.Kind)
	if err := decodeAgain(resp, err, &made); err != nil {
		return Reservation{}, explain(step, resp, err)
	}
	got, ok := made.reservation()
	if !ok {
		return Reservation{}, fmt.Errorf("%s: the answer has no address", step)
	}
	return got, nil
}

// decodeAgain reads the body of an answer that the SDK got, unless the call itself failed.
func decodeAgain(resp *http.Response, err error, into any) error {
	if resp == nil || resp.StatusCode >= 300 {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// reservation reports false for what isn't an address that Daymark could use, such as a VRF's block.
func (r reservationJSON) reservation() (Reservation, bool) {
	text := r.Address
	if text == "" {
		text = r.Network
	}
	addr, err := netip.ParseAddr(text)
	switch Kind(r.Type) {
	case PublicIPv4, PrivateIPv4, PublicIPv6, GlobalIPv4:
	default:
		return Reservation{}, false
	}
	if err != nil || r.ID == "" {
		return Reservation{}, false
	}
	out := Reservation{ID: r.ID, Kind: Kind(r.Type), Prefix: around(addr, r.CIDR), Tags: r.Tags, State: r.State}
	if r.Metro != nil {
		out.Metro = r.Metro.Code
	}
	for _, a := range r.Assignments {
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			out.Assignments = append(out.Assignments, Assignment{ID: a.ID, Addr: addr, Prefix: around(addr, a.CIDR), Device: path.Base(a.AssignedTo.Href)})
		}
	}
	return out, true
}

// around returns the prefix of that length that addr is in, or addr's own where the API named no length.
func around(addr netip.Addr, bits int) netip.Prefix {
	if prefix := netip.PrefixFrom(addr, bits); prefix.IsValid() && bits > 0 {
		return prefix.Masked()
	}
	return netip.PrefixFrom(addr, addr.BitLen())
}
