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

    @Option(name: .customLong("forge-ca-file"), help: ArgumentHelp("The certificates that the forge is checked against (PEM).", valueName: "file"))
    var authorityFile: String?

    func validate() throws {
        if driftIssue {
            guard forge != nil, number == nil else { throw ValidationError("--drift-issue goes with --forge, and without --pull-request.") }
        } else {
            guard (forge == nil) == (number == nil) else { throw ValidationError("--forge and --pull-request (or --drift-issue) go together.") }
        }
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
        if let file = tokenFile ?? environment["PLUMB_FORGE_TOKEN_FILE"] {
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
    /// - Returns: what was done, for a person.
    func post(_ report: PullRequestReport, site: String, on pullRequest: PullRequest) async throws(ForgeFailure) -> String {
        let post = PullRequestPost(report, site: site, budget: max(4096, textLimit - 256))
        let comment = try await publish(comment: post.comment.forForge, on: pullRequest.number)
        let state: ReportStatus.State = post.status.state == .success ? .success : .failure
        _ = try await setStatus(ReportStatus(state, post.status.description, context: post.status.context), on: pullRequest.headCommit)
        return "\(service.name), pull request \(pullRequest.number): comment \(comment.rawValue), status \(post.status.description)"
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
