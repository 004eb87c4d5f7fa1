import ArgumentParser
import Git

/// What a source that is a repository takes.
struct GitSourceOptions: ParsableArguments {
    @Option(help: ArgumentHelp("With a git URL: the branch, tag or commit (default: the remote's HEAD).", valueName: "name"))
    var revision: String?

    @Option(help: ArgumentHelp("With a git URL: the folder or file in the repository (default: all of it).", valueName: "path"))
    var path: String?

    @Option(
        name: .customLong("git-timeout"),
        help: ArgumentHelp("How long reading a repository may take in all: 30s, 2m.", valueName: "duration")
    )
    var timeout = DurationArgument(.seconds(60))

    @Option(
        name: .customLong("git-token-file"),
        help: ArgumentHelp("A file with a token for https (default: ~/.netrc, then git's credential helper).", valueName: "file")
    )
    var tokenFile: String?

    @Option(
        name: .customLong("git-ca-file"),
        help: ArgumentHelp("The certificates that an https server is checked against, in place of the system's (PEM).", valueName: "file")
    )
    var authorityFile: String?

    @Option(
        name: .customLong("verify-signers"),
        help: ArgumentHelp(
            "Take only a commit, or a tag, with the SSH signature of one of these (the format of ssh-keygen's ALLOWED SIGNERS).",
            valueName: "file"
        )
    )
    var signers: String?

    /// Usage that can't be meant.
    func check(_ source: String) throws {
        if GitLocation.isURL(source) { return }
        let given = [("--revision", revision), ("--path", path), ("--git-token-file", tokenFile), ("--git-ca-file", authorityFile)]
        if let (name, _) = (given + [("--verify-signers", signers)]).first(where: { $0.1 != nil }) {
            throw ValidationError("\(name) is for git URLs, and '\(source)' is a path.")
        }
    }
}

/// How the specs of a source are reached.
struct SourceOptions {
    let git: GitSourceOptions
    private var ssh = GitOptions.SSH()
    /// Where what is fetched is kept; nil: nowhere.
    private let dataDirectory: String?

    init(_ git: GitSourceOptions, identity: String?, knownHosts: String?, sshConfig: String?, dataDirectory: String?) {
        self.git = git
        self.dataDirectory = dataDirectory
        ssh.identityFile = identity
        ssh.knownHostsFile = knownHosts
        ssh.configFile = sshConfig
    }

    var gitOptions: GitOptions {
        var options = GitOptions()
        options.cacheDirectory = dataDirectory.map { "\($0)/git" }
        options.timeout = git.timeout.value
        options.tokenFile = git.tokenFile
        options.authorityFile = git.authorityFile
        options.ssh = ssh
        options.ssh.cacheDirectory = dataDirectory.map { "\($0)/ssh-config" }
        options.mayAsk = true
        return options
    }
}
