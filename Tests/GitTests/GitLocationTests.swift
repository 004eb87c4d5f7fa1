import Testing

@testable import Git

struct GitLocationTests {
    @Test(arguments: ["https://git.example/a.git", "ssh://git@git.example:22/a", "git@git.example:a/b.git", "file:///srv/a.git", "git://h/a"])
    func isARepository(_ source: String) { #expect(GitLocation.isURL(source)) }

    @Test(arguments: ["state", "./a:b", "/srv/x@y:z", "specs/a@b.yaml", "a:b"])
    func isAPath(_ source: String) { #expect(!GitLocation.isURL(source)) }

    @Test(arguments: [
        ("https://git.example/a.git", "https://git.example/a.git", nil), ("https://git.example/a.git//state", "https://git.example/a.git", "state"),
        ("git@git.example:a/b.git//state/x", "git@git.example:a/b.git", "state/x"), ("file:///srv/a.git", "file:///srv/a.git", nil),
        ("file:///srv/a.git//state/", "file:///srv/a.git", "state/"), ("ssh://git@h:22/a//b//c", "ssh://git@h:22/a", "b//c"),
    ])
    func takesAPathAfterTwoSlashes(source: String, url: String, path: String?) throws {
        let location = try GitLocation(source: source)
        #expect(location == GitLocation(url: url, path: path))
        // What a plan records leads to the same place.
        let again = try GitLocation(source: location.shown)
        #expect(try again.url == location.url && again.folder == location.folder)
    }

    @Test func twoPathsAreNone() {
        #expect(throws: GitFailure.self) { try GitLocation(source: "https://h/a//b", path: "c") }
        #expect(throws: GitFailure.self) { try GitLocation(url: "https://h/a", path: "b/../../c").folder }
    }

    @Test(arguments: [
        ("https://user:secret@h/a.git", "https://h/a.git"), ("https://secret@h:8443/a", "https://h:8443/a"),
        ("http://a:secret@h/a?token=secret", "http://h/a"),
        ("ssh://git:secret@h/a", "ssh://git@h/a"), ("git@h:a", "git@h:a"), ("nonsense://a:secret@h/x#secret", "nonsense://h/x"),
        ("https://a:secret@b:secret@h/x", "https://h/x"), ("https://a:secret@h/x//state", "https://h/x//state"),
    ])
    func showsNoCredentials(source: String, shown: String) {
        #expect(GitLocation.shown(source) == shown)
        #expect(!GitURL.redacted(source).contains("secret"))
    }

    @Test func takesURLsApart() throws {
        let https = try GitURL("https://us%40er:p%3Aw@Git.Example:8443/a/b.git")
        #expect(https.scheme == .https && https.user == "us@er" && https.password == "p:w" && https.place == "Git.Example:8443")
        #expect(https.address == "https://Git.Example:8443/a/b.git")
        let ssh = try GitURL("ssh://git@h:2222/~ann/x%20y.git")
        #expect(ssh.user == "git" && ssh.port == 2222 && ssh.path == "~ann/x y.git")
        let scp = try GitURL("git@h:a/b.git")
        #expect(scp.scheme == .ssh && scp.user == "git" && scp.host == "h" && scp.path == "a/b.git" && scp.address == "ssh://h/a/b.git")
        #expect(try GitURL("file:///srv/a%20b.git").path == "/srv/a b.git")
        #expect(try GitURL("ssh://[::1]:22/a").host == "::1")
    }

    @Test(arguments: [
        "https://h", "https:///a", "https://h:0/a", "https://h:x/a", "https://-oProxyCommand=x/a", "ssh://-x@h/a", "ssh://a:b@h/a", "ftp://h/a",
        "ext::sh -c true", "file://h/a", "file:///", "git@h:", "git@h:-x", "-x@h:a", "https://h/a?b", "https://h/a b", "https://h/\u{7}",
        "ssh://h$(x)/a",
    ])
    func refuses(_ source: String) { #expect(throws: GitFailure.self) { try GitURL(source) } }
}
