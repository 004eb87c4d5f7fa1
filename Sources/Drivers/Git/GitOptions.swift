package import SpecSources

/// How repositories are reached, and how much of one is taken.
package struct GitOptions: Sendable {
    /// Where what was fetched is kept between reads, `DATA-DIR/git`; nil: nowhere.
    package var cacheDirectory: String?
    /// How long one read may take in all.
    package var timeout: Duration = .seconds(60)
    /// A file with a token for https; nil: `~/.netrc`, then git's credential helper.
    package var tokenFile: String?
    /// The certificates that https servers are checked against, in place of the system's (PEM).
    package var authorityFile: String?
    package var ssh = SSH()
    package var limits = GitLimits()
    /// Whether a passphrase may be asked for on the terminal.
    package var mayAsk = false
    /// The program that reads; it has to be this one. The tests' own is another.
    package var program = "/proc/self/exe"

    package struct SSH: Hashable, Sendable, Codable {
        package var identityFile: String?
        package var knownHostsFile: String?
        package var configFile: String?
        package var cacheDirectory: String?

        package init() {}
    }

    package init() {}
}

/// How much a repository may hold. A repository of specs is far below each, and one that is above is refused by name.
package struct GitLimits: Hashable, Sendable, Codable {
    /// Branches, tags and whatever else the server advertises, with HEAD.
    package var references = 50_000
    /// The advertisement, in bytes.
    package var advertisedBytes = 16 << 20
    /// Of one fetch, as they come over the network.
    package var packBytes = 512 << 20
    package var objects = 2_000_000
    /// A commit, a tag or the list of a folder, inflated, in bytes. Files that are no specs are not looked at, and `specs` is for the others.
    package var objectBytes = 32 << 20
    /// Address space of the process that reads, in bytes.
    package var memory = 3 << 30
    package var specs = SourceLimits()

    package init() {}
}
