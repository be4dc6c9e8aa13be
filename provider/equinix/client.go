package equinix

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/equinix/equinix-sdk-go/services/metalv1"
	"github.com/hashicorp/go-retryablehttp"
)

// DefaultBaseURL is where the public service was.
const DefaultBaseURL = "https://api.equinix.com/metal/v1"

const (
	// requestTimeout bounds one attempt of a call.
	requestTimeout = 10 * time.Second
	// maxRetryAfter bounds what the API can make us wait between two attempts.
	maxRetryAfter = 30 * time.Second
	retries       = 4
	// callsAtOnce bounds the calls under way, each with its attempts and the waits between them: an API that says 429 gets no more than so many
	// attempts for each Retry-After.
	callsAtOnce = 4
	perPage     = 1000
	// maxPages bounds a listing, whatever the API says.
	maxPages = 100
)

// ClientConfig says which API to talk to, as whom.
type ClientConfig struct {
	BaseURL   string // "" means DefaultBaseURL
	Project   string // UUID
	Token     string // never logged
	UserAgent string
	// RetryWait is the first wait between attempts where the API names none; it doubles. 0 means 500 ms.
	RetryWait time.Duration
	// Transport makes the requests; nil means the usual one.
	Transport http.RoundTripper
}

// Client is the API over the network. Reads and deletions are tried again after transport errors, 429 and 5xx, honouring
// Retry-After; a purchase only after 429, since it may have succeeded otherwise. It is safe for concurrent use.
type Client struct {
	api     *metalv1.APIClient
	project string
}

var _ API = (*Client)(nil)

// NewClient returns a client; it makes no call. Every wrong value is reported, the token never shown.
func NewClient(cfg ClientConfig) (*Client, error) {
	api, err := cfg.open()
	if cfg.Project == "" {
		err = errors.Join(err, errors.New("projectId is empty: set METAL_PROJECT_ID or projectId in the configuration file"))
	}
	if err != nil {
		return nil, err
	}
	return &Client{api: api, project: cfg.Project}, nil
}

// open returns the SDK's client.
func (cfg ClientConfig) open() (*metalv1.APIClient, error) {
	base := cmp.Or(cfg.BaseURL, DefaultBaseURL)
	var errs []error
	if u, err := url.Parse(base); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		errs = append(errs, fmt.Errorf("base-url %q is not an http or https URL", base))
	}
	if strings.TrimSpace(cfg.Token) == "" {
		errs = append(errs, errors.New("apiKey is empty: set METAL_API_KEY or apiKey in the configuration file"))
	}
	if strings.ContainsAny(cfg.Token, "\r\n") {
		errs = append(errs, errors.New("apiKey has a line break in it"))
	}
	conf := metalv1.NewConfiguration()
	conf.Servers = metalv1.ServerConfigurations{{URL: strings.TrimSuffix(base, "/")}}
	conf.AddDefaultHeader("X-Auth-Token", cfg.Token)
	conf.UserAgent = strings.TrimSpace(cfg.UserAgent + " " + conf.UserAgent)
	conf.HTTPClient = &http.Client{Transport: limited{
		next: &retryablehttp.RoundTripper{Client: retrying(cfg)}, slots: make(chan struct{}, callsAtOnce),
	}}
	return metalv1.NewAPIClient(conf), errors.Join(errs...)
}

// limited lets no more calls be under way than it has slots; the others wait, as long as their contexts last.
type limited struct {
	next  http.RoundTripper
	slots chan struct{}
}

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case l.slots <- struct{}{}:
	case <-r.Context().Done():
		if r.Body != nil {
			_ = r.Body.Close() // RoundTrip must, also on errors
		}
		return nil, r.Context().Err()
	}
	defer func() { <-l.slots }()
	return l.next.RoundTrip(r)
}

func retrying(cfg ClientConfig) *retryablehttp.Client {
	wait := cmp.Or(cfg.RetryWait, 500*time.Millisecond)
	c := retryablehttp.NewClient()
	if cfg.Transport != nil {
		c.HTTPClient.Transport = cfg.Transport
	}
	c.Logger = nil // it would log URLs at every attempt; callers log what failed in the end
	c.HTTPClient.Timeout = requestTimeout
	c.RetryMax, c.RetryWaitMin, c.RetryWaitMax = retries, wait, maxRetryAfter
	c.ErrorHandler = retryablehttp.PassthroughErrorHandler
	c.Backoff = func(least, most time.Duration, attempt int, resp *http.Response) time.Duration {
		return min(most, retryablehttp.DefaultBackoff(least, most, attempt, resp))
	}
	c.CheckRetry = checkRetry
	return c
}

// checkRetry decides by what a repetition could do. The request is known through the response, or through the
// *url.Error of a failed attempt, whose Op is the method ("Get", "Post").
func checkRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		var failed *url.Error
		repeatable := errors.As(err, &failed) && (failed.Op == "Get" || failed.Op == "Delete")
		var dial *net.OpError
		return repeatable || errors.As(err, &dial) && dial.Op == "dial", nil
	}
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		return true, nil
	case resp.StatusCode >= 500:
		return resp.Request.Method == http.MethodGet || resp.Request.Method == http.MethodDelete, nil
	}
	return false, nil
}

// explain turns an SDK error into one of ours. The text has status and the API's messages, never a header.
func explain(step string, resp *http.Response, err error) error {
	if err == nil {
		return nil
	}
	if resp == nil || resp.StatusCode < 300 && !isDecode(err) {
		return fmt.Errorf("%s: %w: %w", step, ErrUnavailable, err)
	}
	kind := ErrUnavailable
	switch code := resp.StatusCode; {
	case code == http.StatusNotFound:
		kind = ErrNotFound
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		kind = ErrUnauthorized
	case code == http.StatusPaymentRequired:
		kind = ErrPayment
	case code == http.StatusUnprocessableEntity && strings.Contains(messages(err), "already"):
		kind = ErrExists
	case code != http.StatusTooManyRequests && code >= 400 && code < 500:
		kind = ErrRefused
	}
	if text := messages(err); text != "" {
		return fmt.Errorf("%s: %w: %s: %s", step, kind, resp.Status, text)
	}
	return fmt.Errorf("%s: %w: %w", step, kind, err)
}

// messages returns what the API's error body says, at most 500 bytes of it.
func messages(err error) string {
	var api *metalv1.GenericOpenAPIError
	var body struct {
		Error  string   `json:"error"`
		Errors []string `json:"errors"`
	}
	if !errors.As(err, &api) || json.Unmarshal(api.Body(), &body) != nil {
		return ""
	}
	text := strings.Join(append(body.Errors, body.Error), " ")
	return strings.ToValidUTF8(strings.TrimSpace(text[:min(len(text), 500)]), "")
}

func isDecode(err error) bool {
	var api *metalv1.GenericOpenAPIError
	return errors.As(err, &api)
}

// Release implements [API].
func (c *Client) Release(ctx context.Context, reservation string) error {
	return c.deleteAddress(ctx, "releasing reservation "+reservation, reservation)
}

// Unassign implements [API].
func (c *Client) Unassign(ctx context.Context, assignment string) error {
	return c.deleteAddress(ctx, "unassigning "+assignment, assignment)
}

func (c *Client) deleteAddress(ctx context.Context, step, id string) error {
	resp, err := c.api.IPAddressesApi.DeleteIPAddress(ctx, id).Execute()
	if err = explain(step, resp, err); errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Assign implements [API].
func (c *Client) Assign(ctx context.Context, device string, addr netip.Addr) (Assignment, error) {
	got, resp, err := c.api.DevicesApi.CreateIPAssignment(ctx, device).IPAssignmentInput(*metalv1.NewIPAssignmentInput(addr.String())).Execute()
	if err != nil {
		return Assignment{}, explain(fmt.Sprintf("assigning %s to device %s", addr, device), resp, err)
	}
	return Assignment{ID: got.GetId(), Addr: addr, Prefix: around(addr, int(got.GetCidr())), Device: device}, nil
}

// SetTags implements [API].
func (c *Client) SetTags(ctx context.Context, reservation string, tags []string) error {
	_, resp, err := c.api.IPAddressesApi.UpdateIPAddress(ctx, reservation).IPAssignmentUpdateInput(metalv1.IPAssignmentUpdateInput{Tags: tags}).Execute()
	if resp != nil && resp.StatusCode < 300 {
		return nil // the answer's exact shape doesn't matter
	}
	return explain("tagging reservation "+reservation, resp, err)
}
