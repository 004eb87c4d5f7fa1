import ArgumentParser
import Forge
import Foundation
import Reporting

/// Where a report is posted.
struct ReportPostingOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("Post the report at this forge: github, gitlab, gitea or forgejo. The token is in $PLUMB_FORGE_TOKEN.", valueName: "forge")
    )
    var forge: ForgeService?

    @Option(name: .customLong("pull-request"), help: ArgumentHelp("With --forge: the number of the pull (merge) request.", valueName: "n"))
    var number: Int?

    @Flag(
        name: .customLong("drift-issue"),
        help: "With --forge, in place of a pull request: keep one issue that says what differs from --base, open while something does."
    )
    var driftIssue = false

    @Option(
        help: ArgumentHelp("With --forge: OWNER/NAME there (default: $GITHUB_REPOSITORY, $CI_PROJECT_PATH).", valueName: "owner/name")
    )
    var repository: String?

    @Option(
        name: .customLong("forge-url"),
        help: ArgumentHelp("The forge's address (default: $GITHUB_SERVER_URL, $CI_SERVER_URL, else the public one).", valueName: "url")
    )
    var url: String?

    @Option(
        name: .customLong("forge-token-file"),
        help: ArgumentHelp("A file with the token (default: $PLUMB_FORGE_TOKEN_FILE, else $PLUMB_FORGE_TOKEN).", valueName: "file")
    )
    var tokenFile: String?

    @Option(name: .customLong("app-id"), help: ArgumentHelp("With --forge github: post as this App, in place of a token.", valueName: "id"))
    var app: String?

    @Option(help: ArgumentHelp("With --app-id: the App's installation (default: that of the repository).", valueName: "n"))
    var installation: Int64?

    @Option(name: .customLong("app-key"), help: ArgumentHelp("With --app-id: the file with the App's private key (PEM).", valueName: "file"))
    var appKey: String?

    @Option(name: .customLong("forge-ca-file"), help: ArgumentHelp("The certificates that the forge is checked against (PEM).", valueName: "file"))
    var authorityFile: String?

    func validate() throws {
        if driftIssue {
            guard forge != nil, number == nil else { throw ValidationError("--drift-issue goes with --forge, and without --pull-request.") }
        } else {
            guard (forge == nil) == (number == nil) else { throw ValidationError("--forge and --pull-request (or --drift-issue) go together.") }
        }
        guard (app == nil) == (appKey == nil) else { throw ValidationError("--app-id and --app-key go together.") }
        if app != nil, forge != .github { throw ValidationError("--app-id is for --forge github.") }
        if app != nil, tokenFile != nil { throw ValidationError("--app-id is in place of --forge-token-file.") }
        if installation != nil, app == nil { throw ValidationError("--installation needs --app-id.") }
        if let number, number < 1 { throw ValidationError("--pull-request must be a number from 1, not \(number).") }
    }

    /// The pull request that the report is for; nil: none, it is printed.
    ///
    /// - Parameter site: Tells apart what several Plumbs say of one repository.
    func client(site: String, environment: [String: String] = ProcessInfo.processInfo.environment) throws(ForgeFailure) -> ForgeClient? {
        guard let forge else { return nil }
        guard let repository = repository ?? environment["GITHUB_REPOSITORY"] ?? environment["CI_PROJECT_PATH"] else {
            throw ForgeFailure(.invalid, "it is not known how \(forge.name) calls the repository", fix: "Give --repository OWNER/NAME")
        }
        let credentials: ForgeCredentials
        if let app, let appKey {
            credentials = try .app(id: app, installation: installation, keyFile: appKey)
        } else if let file = tokenFile ?? environment["PLUMB_FORGE_TOKEN_FILE"] {
            credentials = try .token(file: file)
        } else {
            credentials = try .token(variable: "PLUMB_FORGE_TOKEN", environment: environment)
        }
        var options = ForgeClient.Options(site: site)
        options.authorityFile = authorityFile
        // Runners of CI say where they belong to.
        let address = url ?? environment[forge == .gitlab ? "CI_SERVER_URL" : "GITHUB_SERVER_URL"]
        return try ForgeClient(forge, url: address, repository: repository, credentials: credentials, options: options)
    }
}

extension ForgeService: ExpressibleByArgument {}

extension ForgeClient {
    /// Posts a report as the one comment and the one status of a pull request, and mistakes at their lines where the forge has that.
    ///
    /// - Returns: What became of the comment.
    func post(_ report: PullRequestReport, site: String, on pullRequest: PullRequest) async throws(ForgeFailure) -> Published {
        let post = PullRequestPost(report, site: site, budget: max(4096, textLimit - 256))
        let comment = try await publish(comment: post.comment.forForge, on: pullRequest.number)
        let state: ReportStatus.State = post.status.state == .success ? .success : .failure
        let status = ReportStatus(state, post.status.description, context: post.status.context)
        // Where the comment was there already, the status most likely is, too.
        _ = try await setStatus(status, on: pullRequest.headCommit, asksFirst: comment == .unchanged)
        // Of specs that are good there is nothing to say at a line, and another head has checks of its own.
        if let check = ReportCheck(post) { _ = try await publish(check, on: pullRequest.headCommit) }
        return comment
    }
}

extension ReportCheck {
    /// nil: nothing is wrong that has a line.
    fileprivate init?(_ post: PullRequestPost) {
        let annotations = post.annotations.filter { !$0.path.isEmpty }.map { mistake in
            Annotation(path: mistake.path, line: mistake.line, message: mistake.fix.isEmpty ? mistake.message : "\(mistake.message). \(mistake.fix)")
        }
        if annotations.isEmpty { return nil }
        self.init(
            title: post.status.description,
            summary: "The specs can't be taken as they are. The comment has all of it.",
            isFailure: true,
            annotations: annotations
        )
    }
}

extension PullRequestPost.Comment {
    /// The client finds comments by a marker of its own, and tells the time of the observation apart where it is last.
    fileprivate var forForge: String {
        var lines = body.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        if lines.first == marker { lines.removeFirst() }
        guard let index = lines.firstIndex(where: { $0.hasPrefix(PullRequestReport.timePrefix) }) else { return lines.joined(separator: "\n") }
        let time = lines.remove(at: index)
        while lines.last?.isEmpty == true { lines.removeLast() }
        return lines.joined(separator: "\n") + "\n\n" + ReportMarker.time(time)
    }
}
