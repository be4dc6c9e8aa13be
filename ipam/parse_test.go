package ipam_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"daymark/ipam"
)

func TestParseElement(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/24":                         "10.0.0.0/24",
		"10.0.0.77/24":                        "10.0.0.0/24",
		" 10.0.0.1 - 10.0.0.9 ":               "10.0.0.1-10.0.0.9",
		"10.0.0.1-10.0.0.1":                   "10.0.0.1",
		"10.0.0.1":                            "10.0.0.1",
		"10.0.0.1/32":                         "10.0.0.1/32",
		"FD00::/64":                           "fd00::/64",
		"fd00::1-fd00::ffff":                  "fd00::1-fd00::ffff",
		"::/128":                              "::/128",
		"0.0.0.0/32":                          "0.0.0.0/32",
		"::ffff:10.0.0.1-::ffff:10.0.0.9":     "10.0.0.1-10.0.0.9",
		"":                                    "! empty element",
		"10.0.0.0/33":                         "! prefix length out of range",
		"10.0.0.256":                          "! IPv4 field has value >255",
		"10.0.0":                              "! IPv4 address too short",
		"10.0.0.9-10.0.0.1":                   "! the range ends before it begins",
		"10.0.0.1-fd00::1":                    "! the ends of the range are of different families",
		"10.0.0.1-":                           "! unable to parse IP",
		"10.0.0.1-10.0.0.2-10.0.0.3":          "! unexpected character",
		"fe80::1%eth0":                        "! a zone is not allowed",
		"0.0.0.0/0":                           "! a pool can't be the whole address space",
		"::ffff:10.0.0.0/120":                 "! write an IPv4 prefix as IPv4",
		"10.0.0.0/24 10.0.1.0/24":             "! ",
		"10.0.0.1-10.0.0.9/24":                "! unexpected character",
		"example.org":                         "! unexpected character",
		"ffff:ffff:ffff:ffff::/64-10.0.0.1":   "! ",
		"10.0.0.1\u201310.0.0.9 (a dash)":     "! ",
		"00010.0.0.1":                         "! IPv4 field has octet with leading zero",
		"10.0.0.1-10.0.0.300":                 "! IPv4 field has value >255",
		"300.0.0.1-300.0.0.2":                 "! IPv4 field has value >255",
		"10.0.0.0/08":                         "! bad bits after slash",
		"10.0.0.0/-1":                         "! ",
		"fd00::/129":                          "! prefix length out of range",
		"fd00::10-fd00::1":                    "! the range ends before it begins",
		"255.255.255.255/32":                  "255.255.255.255/32",
		"fd00:0:0:1::/64":                     "fd00:0:0:1::/64",
		"10.0.0.0-10.255.255.255":             "10.0.0.0-10.255.255.255",
		"192.168.0.200 -192.168.0.202":        "192.168.0.200-192.168.0.202",
		"\n  192.168.0.200-192.168.0.202\n\t": "192.168.0.200-192.168.0.202",
	} {
		e, err := ipam.ParseElement(text)
		got := e.String()
		if err != nil {
			got = "! " + err.Error()
		}
		if wrong, ok := strings.CutPrefix(want, "! "); ok && err != nil && strings.Contains(err.Error(), wrong) {
			continue
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	config, problems := ipam.Parse(map[string]string{
		"cidr-global":          "10.0.0.0/24, fd00::/64",
		"range-global":         "10.1.0.1 - 10.1.0.9",
		"cidr-shop":            "10.2.0.1-10.2.0.2,10.2.1.0/24",
		"allow-share-shop":     "true",
		"allow-share-global":   "0",
		"interface-global":     "eth0",
		"interface-shop":       "",
		"quota-shop":           "12",
		"exclude":              "10.0.0.1, 10.0.0.8/29, 10.0.0.32-10.0.0.40",
		"search-order":         "desc",
		"skip-end-ips-in-cidr": "true",
		"spill-to-global":      "true",
		"pool-precedence":      "legacy",
		"allow-outside-pools":  "true",
	})
	element := func(text string) ipam.Element {
		e, err := ipam.ParseElement(text)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	want := ipam.Config{
		Pools: []ipam.Pool{
			{
				Name:  "global",
				CIDR:  []ipam.Element{element("10.0.0.0/24"), element("fd00::/64")},
				Range: []ipam.Element{element("10.1.0.1-10.1.0.9")},
			},
			{Name: "shop", CIDR: []ipam.Element{element("10.2.0.1-10.2.0.2"), element("10.2.1.0/24")}},
		},
		Share:             map[string]bool{"shop": true, "global": false},
		Interfaces:        map[string]string{"global": "eth0", "shop": ""},
		Quotas:            map[string]int{"shop": 12},
		Exclude:           []ipam.Element{element("10.0.0.1"), element("10.0.0.8/29"), element("10.0.0.32-10.0.0.40")},
		Order:             ipam.Descending,
		Precedence:        ipam.Legacy,
		SkipEnds:          true,
		SpillToGlobal:     true,
		AllowOutsidePools: true,
	}
	if d := cmp.Diff(want, config, equateConfigs...); d != "" {
		t.Error(d)
	}
	if len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	if config.Interface("shop") != "" || config.Interface("blog") != "eth0" || !config.Shares("shop") || config.Shares("blog") {
		t.Error("a namespace's own setting comes before the global one, which is for all others")
	}
}

func TestParseNamesEveryProblem(t *testing.T) {
	_, problems := ipam.Parse(map[string]string{
		"cidr-global":          "10.0.0.0/24,\n  10.0.1.0/33,10.0.0.9-10.0.0.1",
		"range-shop":           "fd00::1-fd00::x",
		"cidr-Shop":            "10.3.0.0/24",
		"cidr-":                "10.3.0.0/24",
		"cidr-blog":            "10.1.0.0/24,",
		"cidr-loop":            "127.0.0.0/24,224.0.0.1,ff02::/16,0.0.0.0/32,::,10.2.0.0/24",
		"range-blog":           "",
		"allow-share-shop":     "yes please",
		"interface-shop":       "an-interface-of-29-characters",
		"interface-blog":       "eth 0",
		"quota-shop":           "-1",
		"search-order":         "down",
		"skip-end-ips-in-cidr": "sure",
		"pool-precedence":      "newest",
		"exclude":              "10.0.0.1,node-a",
		"cdir-shop":            "10.0.0.0/24",
		"exlude":               "10.0.0.0/24",
		"spare":                "",
	})
	var got []string
	for _, p := range problems {
		text := p.Error()
		if p.Warning {
			text = "warning: " + text
		}
		got = append(got, text)
	}
	want := []string{
		`allow-share-shop: "yes please": neither true nor false`,
		`warning: cdir-shop: "10.0.0.0/24": unknown key, did you mean "cidr-shop"?`,
		`cidr-: "10.3.0.0/24": "" can't be the name of a namespace`,
		`cidr-Shop: "10.3.0.0/24": "Shop" can't be the name of a namespace`,
		`cidr-blog, element 2, "": empty element`,
		`cidr-global, element 2, "10.0.1.0/33": prefix length out of range`,
		`cidr-global, element 3, "10.0.0.9-10.0.0.1": the range ends before it begins`,
		`warning: cidr-loop: "0.0.0.0/32": means DHCP for every Service, so that the key's other addresses of its family are only given on request`,
		`cidr-loop, element 1, "127.0.0.0/24": no Service can have a loopback address`,
		`cidr-loop, element 2, "224.0.0.1": no Service can have a multicast address`,
		`cidr-loop, element 3, "ff02::/16": no Service can have a multicast address`,
		`exclude, element 2, "node-a": "node": unable to parse IP, "a": unable to parse IP`,
		`warning: exlude: "10.0.0.0/24": unknown key, did you mean "exclude"?`,
		`interface-blog: "eth 0": can't be the name of a network interface`,
		`interface-shop: "an-interface-of-29-characters": longer than the 15 bytes that a network interface's name has`,
		`pool-precedence: "newest": not one of "legacy", "namespace"`,
		`quota-shop: "-1": not a number of addresses`,
		`warning: range-blog: "": lists no address`,
		`range-shop, element 1, "fd00::1-fd00::x": "fd00::x": each colon-separated field must have at least one digit (at "x")`,
		`search-order: "down": not one of "asc", "desc"`,
		`skip-end-ips-in-cidr: "sure": neither true nor false`,
		`warning: spare: "": unknown key`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestProblemsAreFoundInTheirValue(t *testing.T) {
	value := "10.0.0.0/24,\n  10.0.1.0/33 ,x"
	_, problems := ipam.Parse(map[string]string{"cidr-global": value})
	for i, want := range []string{"10.0.1.0/33", "x"} {
		p := problems[i]
		if p.Text != want || value[p.Offset:p.Offset+len(p.Text)] != want {
			t.Errorf("problem %d is %q at %d, want %q", i, p.Text, p.Offset, want)
		}
	}
}

func TestWarningOfTwoKeysForOnePool(t *testing.T) {
	data := map[string]string{"cidr-shop": "10.0.0.0/24", "range-shop": "10.1.0.1-10.1.0.9"}
	if _, problems := ipam.Parse(data); len(problems) != 1 || !problems[0].Warning || problems[0].Key != "range-shop" {
		t.Errorf("got %v", problems)
	}
	data["pool-precedence"] = "legacy"
	if _, problems := ipam.Parse(data); len(problems) != 0 {
		t.Errorf("got %v", problems)
	}
}

func TestWarningsOfOverlaps(t *testing.T) {
	for name, test := range map[string]struct {
		data map[string]string
		want []string
	}{
		"apart":               {map[string]string{"cidr-a": "10.0.0.0/24,fd00::/64", "cidr-b": "10.0.1.0/24,fd00:0:0:1::/64", "range-global": "10.0.2.0-10.0.2.9"}, nil},
		"within one pool":     {map[string]string{"cidr-a": "10.0.0.0/24,10.0.0.8/29,10.0.0.8/29"}, nil},
		"DHCP":                {map[string]string{"cidr-a": "0.0.0.0/32", "cidr-b": "0.0.0.0/32"}, nil},
		"excluded":            {map[string]string{"cidr-a": "10.0.0.0/24", "exclude": "10.0.0.0/24"}, nil},
		"one in another":      {map[string]string{"cidr-global": "10.0.0.0/16", "cidr-a": "10.0.5.0/24"}, []string{"cidr-a 1 10.0.0.0/16 of cidr-global"}},
		"an end of each":      {map[string]string{"range-a": "10.0.0.1-10.0.0.9", "range-b": "10.0.0.9-10.0.0.12"}, []string{"range-b 1 10.0.0.1-10.0.0.9 of range-a"}},
		"the same":            {map[string]string{"cidr-b": "fd00::/64", "cidr-a": "10.0.0.0/24, fd00::/64"}, []string{"cidr-b 1 fd00::/64 of cidr-a"}},
		"both are named once": {map[string]string{"cidr-a": "10.0.0.0/24,10.0.9.0/24", "cidr-b": "10.0.0.0/20"}, []string{"cidr-a 2 10.0.0.0/20 of cidr-b", "cidr-b 1 10.0.0.0/24 of cidr-a"}},
		"one further up": {
			map[string]string{"cidr-a": "10.0.0.0/8,10.0.1.0/24", "cidr-b": "10.0.0.0/16", "cidr-c": "10.200.0.0/24"},
			[]string{"cidr-a 2 10.0.0.0/16 of cidr-b", "cidr-b 1 10.0.0.0/8 of cidr-a", "cidr-c 1 10.0.0.0/8 of cidr-a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := ipam.Parse(test.data)
			var got []string
			for _, p := range problems {
				rival, ok := strings.CutPrefix(p.Wrong, "overlaps ")
				if !ok || !p.Warning {
					t.Errorf("%+v", p)
				}
				rival, _, _ = strings.Cut(rival, ";")
				got = append(got, fmt.Sprint(p.Key, " ", p.Element, " ", rival))
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestKeepGood(t *testing.T) {
	good, _ := ipam.Parse(map[string]string{
		"cidr-shop": "10.0.0.0/24", "quota-shop": "3", "allow-share-shop": "true", "interface-shop": "eth1", "search-order": "desc",
		"exclude": "10.0.0.9", "cidr-gone": "10.9.0.0/24",
	})
	bad, _ := ipam.Parse(map[string]string{
		"cidr-shop": "10.0.0.0/24,x", "quota-shop": "three", "allow-share-shop": "maybe", "interface-shop": "/", "search-order": "up",
		"exclude": "10.0.0.8,y", "cidr-new": "10.5.0.0/24", "cidr-odd": "z",
	})
	got := bad.KeepGood(good)
	want := map[string]string{
		"cidr-shop": "10.0.0.0/24", "quota-shop": "3", "allow-share-shop": "true", "interface-shop": "eth1", "search-order": "desc",
		"exclude": "10.0.0.8,10.0.0.9", "cidr-new": "10.5.0.0/24", "cidr-odd": "",
	}
	if d := cmp.Diff(want, got.Data()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"allow-share-shop", "cidr-odd", "cidr-shop", "exclude", "interface-shop", "quota-shop", "search-order"}, got.Broken()); d != "" {
		t.Error(d)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("cidr-global", "10.0.0.0/24,fd00::/64", "search-order", "desc")
	f.Add("range-shop", "10.0.0.1 - 10.0.0.9,0.0.0.0/32", "exclude", "10.0.0.4")
	f.Add("quota-shop", "4", "interface-shop", "eth0")
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 string) {
		data := map[string]string{key1: value1, key2: value2}
		config, problems := ipam.Parse(data)
		for _, p := range problems {
			value, ok := data[p.Key]
			if !ok || p.Element > 0 && value[p.Offset:p.Offset+len(p.Text)] != p.Text {
				t.Errorf("%v is not in %q", p, value)
			}
		}
		again, problems := ipam.Parse(config.Data())
		for _, p := range problems {
			if !p.Warning {
				t.Errorf("written, it is wrong: %v", p)
			}
		}
		if d := cmp.Diff(config, again, equateConfigs...); d != "" {
			t.Error(d)
		}
		a := ipam.New()
		a.SetConfig(config)
		a.Stats()
	})
}

var equateConfigs = []cmp.Option{
	cmpopts.IgnoreUnexported(ipam.Config{}), cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}),
}
