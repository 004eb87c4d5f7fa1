import ArgumentParser
import Forge
import Reporting
import Values

struct ReportCommand: AsyncParsableCommand {
    enum Format: String, ExpressibleByArgument, CaseIterable {
        case markdown
        case json
    }

    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Show what a pull request changes, apart from what has drifted already; changes nothing.",
        discussion: """
            Reads the specs of two revisions, looks once at what is live, and plans both from that: what only the head would do is the pull request's,
            what the base would do has drifted already. Nothing is written anywhere, on no host, in no cluster, and not in the data directory.

            What the head comes to is what merging it would make: what came to the base since the branch was made does not look undone. Where both
            changed the same lines, it is about the head alone, and says so.

            With --forge and --pull-request the report is posted there as one comment and one status, updated in place; base, head, and who the author is come
            from the forge. Of an author who may not write to the repository it is as with --untrusted, in a public repository as with --hide-values.

            With --forge and --drift-issue nothing is compared: one issue says what differs from the base (default: the repository's HEAD) now, each with its two
            ways out. It is opened, updated in place, closed when all is as declared, and opened again; for a job that runs now and then.

            With --untrusted nothing is read, compared or shown that the base does not declare: SECURITY.md has all of it.

            Exit status: 0; 1 the specs are wrong (of the head: the report names each mistake), or something could not be read.
            """
    )

    @Argument(help: "The repository: a git URL, or its folder (default: the one around the current folder).")
    var source: String?

    @Option(help: ArgumentHelp("The branch, tag or commit that would be merged into.", valueName: "ref"))
    var base: String?

    @Option(help: ArgumentHelp("The branch, tag or commit that would be merged.", valueName: "ref"))
    var head: String?

    @Option(help: ArgumentHelp("markdown or json.", valueName: "format"))
    var output = Format.markdown

    @Option(
        name: .customLong("max-bytes"),
        help: ArgumentHelp("Cut the Markdown to this many bytes, with a word on what is left out (forges take 65536 and more).", valueName: "n")
    )
    var maxBytes: Int?

    @Flag(help: "The author of the head may not write to the repository.")
    var untrusted = false

    @Flag(name: .customLong("hide-values"), help: "Do not show what is live: others can read the report.")
    var hideValues = false

    @OptionGroup var posting: ReportPostingOptions

    @OptionGroup var options: SharedOptions

    func validate() throws {
        if options.git.revision != nil { throw ValidationError("--revision is for one revision; here there are --base and --head.") }
        if let maxBytes, maxBytes < 4096 { throw ValidationError("--max-bytes must be at least 4096, not \(maxBytes).") }
        for (option, revision) in [("--base", base), ("--head", head)] where revision?.isEmpty ?? (posting.forge == nil) {
            throw ValidationError("\(option) needs the name of a branch or a tag, or a commit.")
        }
        guard posting.driftIssue else { return }
        if head != nil || untrusted || output != .markdown {
            throw ValidationError(
                "--drift-issue is about --base alone: no --head, no --untrusted, and no --output (plumb plan --output json has it)."
            )
        }
    }

    func run() async throws {
        let terminal = Terminal(plain: options.noColor)
        if posting.driftIssue { return try await keepDriftIssue(terminal) }
        guard posting.forge != nil else {
            let audience = PullRequestReport.Audience(isForStranger: untrusted, hidesValues: hideValues)
            let run = try ReportRun(repository: source, options: options, audience: audience, terminal: terminal)
            let report = try await run.report(base: base ?? "", head: head ?? "")
            try show(report, of: run, terminal)
            return
        }
        let reported: Result<(PullRequestReport, ReportRun), any Error>
        do throws(ForgeFailure) {
            let site = (options.git.path ?? "").split(separator: "/").joined(separator: "/")
            guard let client = try posting.client(site: site), let number = posting.number else { return }
            let outcome: Result<(PullRequestReport, ReportRun), any Error>
            do throws(ForgeFailure) {
                let pullRequest = try await client.pullRequest(number)
                outcome = await report(pullRequest, terminal)
                if case .success(let (report, _)) = outcome {
                    let comment = try await client.post(report, site: site, on: pullRequest)
                    let words = "\(client.service.name), pull request \(pullRequest.number): comment \(comment.rawValue), status \(report.headline)"
                    terminal.writeError("\(Escaping.shown(words))\n")
                } else {
                    _ = try await client.setStatus(ReportStatus(.error, "the report could not be made"), on: pullRequest.headCommit)
                }
            } catch {
                await client.close()
                throw error
            }
            await client.close()
            reported = outcome
        } catch {
            let fix = error.fix.map { "    \(Escaping.shown($0))\n" } ?? ""
            terminal.writeError("\(terminal.errors.errorWord): the report was not posted: \(Escaping.shown(error.message))\n\(fix)")
            throw ExitCode(1)
        }
        let (report, run) = try reported.get()
        try show(report, of: run, terminal)
    }

    /// What may be shown depends on who asks and who can read it, whatever the options say.
    private func report(_ pullRequest: PullRequest, _ terminal: Terminal) async -> Result<(PullRequestReport, ReportRun), any Error> {
        let isStranger = untrusted || pullRequest.isFork || !pullRequest.authorMayWrite
        let audience = PullRequestReport.Audience(isForStranger: isStranger, hidesValues: hideValues || pullRequest.isPublic)
        do {
            let run = try ReportRun(repository: source, options: options, audience: audience, terminal: terminal)
            // A fork's branch is not in this repository; what the forge keeps of it is.
            let theirs = pullRequest.isFork ? posting.forge?.headRef(ofPullRequest: pullRequest.number) : nil
            let report = try await run.report(base: base ?? pullRequest.baseRef, head: head ?? theirs ?? pullRequest.headRef)
            return .success((report, run))
        } catch {
            return .failure(error)
        }
    }

    private func show(_ report: PullRequestReport, of run: ReportRun, _ terminal: Terminal) throws {
        switch output {
        case .markdown: terminal.write(report.markdown(site: run.site, budget: maxBytes ?? .max))
        case .json: terminal.write(report.document.prettyJSON)
        }
        if !report.isComplete { throw ExitCode(1) }
    }
}
