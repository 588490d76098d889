package main

import "testing"

func TestShowsOnlyHeadersWithoutCredentials(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, header, value, want string }{
		{"known", "content-type", "text/event-stream", "text/event-stream"},
		{"last_event_id", "Last-Event-ID", "41", "41"},
		{"scheme_of_its_own", "Foo", "Token secret", redacted},
		{"password", "X-Pass", "secret", redacted},
		{"pin", "X-Pin", "secret", redacted},
		{"short_name", "My-Pwd", "secret", redacted},
		{"access", "X-Access", "secret", redacted},
		{"link", "Link", "<https://h/p/secret>", redacted},
		{"cookie", "Set-Cookie", "a=secret", redacted},
		{"other_cross_origin", "Access-Control-Secret", "secret", redacted},
		{"idempotency_key", "Idempotency-Key", "secret", redacted},
		{"authorization", "Authorization", "Bearer secret", "Bearer " + redacted},
		{"authorization_without_scheme", "Authorization", "secret", redacted},
		{"authorization_of_another_scheme", "Authorization", "secret secret", redacted},
		{"challenge", "WWW-Authenticate", "Negotiate secret==", "Negotiate " + redacted},
		{"challenge_of_a_proxy", "Proxy-Authenticate", "NTLM secret", "NTLM " + redacted},
		{"challenge_of_another_scheme", "WWW-Authenticate", "Secret secret", redacted},
		{"location", "Location", "https://u:secret@h:1/p?secret#secret", "https://h:1/p?" + redacted},
		{"location_with_a_fragment", "Location", "/p#access_token=secret", "/p"},
		{"location_without_a_scheme", "Location", "//u:secret@h/p", "//h/p"},
		{"location_of_another_scheme", "Location", "app://secret", redacted},
		{"location_that_is_opaque", "Location", "u:secret@h/p", redacted},
		{"location_that_is_none", "Location", "http://u:secret@%zz", redacted},
		{"location_with_one_slash", "Location", "https:/u:secret@h/", redacted},
		{"location_with_a_session", "Location", "/p;jsessionid=secret", redacted},
		{"referer", "Referer", "http://h/?token=secret", "http://h/?" + redacted},
		{"refresh", "Refresh", "0;url=https://u:secret@h/#access_token=secret", "0;url=https://h/"},
		{"refresh_with_spaces", "Refresh", "5; URL=/p?a=secret", "5; URL=/p?" + redacted},
		{"refresh_with_quotes", "Refresh", "0;url='https://u:secret@h/'", "0;url=" + redacted},
		{"refresh_with_quotes_and_no_scheme", "Refresh", "0;url='//u:secret@h/'", "0;url=" + redacted},
		{"refresh_without_a_name", "Refresh", "0;https://u:secret@h/?a=b", redacted},
		{"refresh_of_something_else", "Refresh", "secret=a", redacted},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := shownValue(test.header, test.value); got != test.want {
				t.Errorf("%s: %s is shown as %q, want %q", test.header, test.value, got, test.want)
			}
		})
	}
}
