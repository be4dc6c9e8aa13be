package main_test

import (
	"strings"
	"testing"

	vip "daymark/cmd/vip"
)

func TestMetalAndWhatItIsFor(t *testing.T) {
	const metal = "vip_packet=1 cp_enable=1 address=192.0.2.10 METAL_AUTH_TOKEN=top-secret vip_packetprojectid=id "
	for name, test := range map[string]struct {
		environ string
		mode    vip.Mode
		link    string
		notices int
	}{
		"the address is assigned":        {metal, vip.ModeMetal, "lo", 0},
		"on a link":                      {metal + "vip_interface=eth0", vip.ModeMetal, "eth0", 0},
		"BGP peers from the API":         {metal + "bgp_enable=1 svc_enable=1", vip.ModeBGP, "lo", 0},
		"BGP peers from the annotations": {metal + "bgp_enable=1 annotation=metal.equinix.com", vip.ModeBGP, "lo", 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := load(t, vip.Sources{Environ: strings.Fields(test.environ), Host: bed("")})
			if c := got.Config; c.Mode != test.mode || c.Links.ControlPlane != test.link || len(notices(got)) != test.notices {
				t.Errorf("mode %s on %q, notices %q", c.Mode, c.Links.ControlPlane, notices(got))
			}
		})
	}
}

func TestMetalTokenIsShownNowhere(t *testing.T) {
	environ := strings.Fields("vip_packet=1 cp_enable=1 address=192.0.2.10 METAL_AUTH_TOKEN=top-secret vip_packetprojectid=id vip_interface=nonsense")
	for _, args := range [][]string{{"config", "print"}, {"config", "print", "-o", "json"}, {"config", "validate"}, {"manager"}} {
		out, problems, err := execute(environ, args...)
		if text := out + problems; strings.Contains(text, "top-secret") || err != nil && strings.Contains(err.Error(), "top-secret") {
			t.Errorf("%q shows the token:\n%s\n%v", args, text, err)
		}
	}
	_, problems, err := execute(nil, "manager", "--metal", "--metalKey", "top-secret", "--interface", "nonsense")
	if err == nil || !strings.Contains(problems, "a secret among the arguments") || strings.Contains(problems+err.Error(), "top-secret") {
		t.Errorf("%v\n%s", err, problems)
	}
}
