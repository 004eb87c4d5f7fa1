import ArgumentParser
import ClusterKinds
import Controller
import Foundation
import Git
import Kubernetes
import KubernetesAPI
import Observing
import Planning
import Reconciling
import Reporting
import ResourceModel
import SpecLoading
import SpecSources
import Stores

/// One report of a pull request: two revisions read, everything observed once, both planned from that. Writes nothing anywhere.
struct ReportRun {
    private let location: GitLocation
    private let options: SharedOptions
    private let audience: PullRequestReport.Audience
    private let terminal: Terminal
    /// Where in the repository the specs are, for telling several comments apart.
    let site: String

    /// - Parameter repository: A git URL, or a folder in a repository; nil: the current one.
    /// - Throws: exit status 1, after the reason was printed.
    init(repository: String?, options: SharedOptions, audience: PullRequestReport.Audience, terminal: Terminal) throws {
        self.options = options
        self.audience = audience
        self.terminal = terminal
        do throws(GitFailure) {
            let place = repository ?? "."
            location = try GitLocation(source: GitLocation.isURL(place) ? place : Self.url(around: place), path: options.git.path)
            site = try location.folder
        } catch {
            throw terminal.failed(error)
        }
    }

    /// - Throws: exit status 1, after the reason was printed, where the base or the repository can't be read. What is wrong with the head is
    ///   the report.
    func report(base: String, head: String) async throws -> PullRequestReport {
        let baseTree: GitTree
        do throws(GitFailure) {
            baseTree = try await read(base, GitLimits(), verify: options.git.signers.map { GitVerification(allowedSigners: $0) }, into: nil)
        } catch {
            throw terminal.failed(error)
        }
        let headTree: GitTree
        do throws(GitFailure) {
            headTree = try await read(head, reading.limits(after: SpecAmount(baseTree.files)), verify: nil, into: baseTree.commit)
        } catch {
            // Too much, or damaged: whoever reads the pull request has to know. Where nothing can be reached there is no report.
            guard error.cause == .refused || error.cause == .invalid else { throw terminal.failed(error) }
            let mistake = Annotation(path: "", message: error.message, fix: error.fix)
            return wrong(base: .init(name: base, commit: baseTree.commit), head: .init(name: head, commit: ""), [mistake])
        }
        let revisions = (
            base: PullRequestReport.Revision(name: base, commit: baseTree.commit),
            head: PullRequestReport.Revision(name: head, commit: headTree.commit)
        )
        let headDesired: DesiredState
        let baseDesired: DesiredState
        var baseMistakes = 0
        switch reading.load(baseTree) {
        case .success(let desired): baseDesired = desired
        case .failure(let mistakes):
            tell(mistakes.annotations)
            baseMistakes = mistakes.annotations.count
            baseDesired = DesiredState(targets: [], resources: [], contentHash: "")
        }
        switch reading.load(headTree, after: baseDesired) {
        case .success(let desired): headDesired = desired
        case .failure(let mistakes): return wrong(base: revisions.base, head: revisions.head, mistakes.annotations)
        }
        return try await compare(revisions, baseDesired, headDesired, baseMistakes: baseMistakes, join: headTree.join)
    }

    private func compare(
        _ revisions: (base: PullRequestReport.Revision, head: PullRequestReport.Revision),
        _ base: DesiredState,
        _ head: DesiredState,
        baseMistakes: Int,
        join: GitJoin?
    ) async throws -> PullRequestReport {
        try checkSelection(base, head)
        let identity = SourceIdentity(ofRemote: GitLocation.shown(location.url), path: site)
        let composition = Composition(options: options, source: identity, keepsCaches: false) { terminal.writeError("\(Escaping.shown($0))\n") }
        let held = recallHeld(composition)
        let pauses = recallPauses()
        func pass(_ desired: DesiredState, _ revision: PullRequestReport.Revision) -> Pass {
            var pass = Pass(
                desired: desired,
                kinds: Source.kinds,
                revision: revision.commit,
                source: location.shown,
                selection: options.selection,
                concurrency: options.concurrency,
                maxDeletes: options.maxDeletes
            )
            if !audience.isForStranger { pass.held = held }
            pass.pauses = pauses
            return pass
        }
        let both = PullRequestPass(
            base: pass(base, revisions.base),
            head: pass(head, revisions.head),
            isForStranger: audience.isForStranger,
            comparesValues: audience.comparesValues
        )
        let observedAt = Moment(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))
        var progress = ProgressLine(targets: both.observedPart.resourcesByTarget().map { $0.0.name }, terminal: terminal)
        let outcome = await both.compare(with: composition.pullRequestCollaborators(for: audience)) { progress.answered($0.name, $1) }
        progress.finish()
        await composition.close()
        var report = PullRequestReport(
            source: location.shown,
            base: revisions.base,
            head: revisions.head,
            audience: audience,
            observedAt: observedAt,
            plans: (outcome.base, outcome.head),
            difference: outcome.difference,
            part: both.strangersPart,
            targets: both.targets,
            baseMistakes: baseMistakes
        )
        if let note = join?.note { report.notes.append(note) }
        return report
    }

    // MARK: Specs

    private var reading: PullRequestReading {
        PullRequestReading(isForStranger: audience.isForStranger, contextIsGiven: options.context != nil || Source.isInPod)
    }

    private func read(_ revision: String, _ limits: GitLimits, verify: GitVerification?, into: String?) async throws(GitFailure) -> GitTree {
        var git = options.sourceOptions.gitOptions
        git.cacheDirectory = nil
        git.ssh.cacheDirectory = nil
        git.limits = limits
        let place = GitLocation(url: location.url, revision: revision, path: location.path)
        guard case .read(let tree) = try await GitRepository(options: git).read(place, verify: verify, into: into) else {
            throw GitFailure(.invalid, "\(place.shown) gave no specs")
        }
        return tree
    }

    private func wrong(
        base: PullRequestReport.Revision,
        head: PullRequestReport.Revision,
        _ mistakes: [Annotation]
    ) -> PullRequestReport {
        tell(mistakes)
        return PullRequestReport(
            source: location.shown,
            base: base,
            head: head,
            audience: audience,
            observedAt: Moment(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)),
            mistakes: mistakes
        )
    }

    /// As compilers write it, a few of them.
    private func tell(_ mistakes: [Annotation]) {
        for mistake in mistakes.prefix(100) {
            let place = mistake.path.isEmpty ? "" : "\(Escaping.shown(mistake.path)):\(mistake.line):\(mistake.column): "
            let fix = mistake.fix.isEmpty ? "" : "\n    \(Escaping.shown(mistake.fix))"
            terminal.writeError("\(place)\(terminal.errors.errorWord): \(Escaping.shown(mistake.message))\(fix)\n")
        }
        if mistakes.count > 100 { terminal.writeError("and \(mistakes.count - 100) more\n") }
    }

    /// A misspelt name should not look like "no changes".
    private func checkSelection(_ base: DesiredState, _ head: DesiredState) throws {
        let unmatched = Set(options.selection.unmatched(in: base)).intersection(options.selection.unmatched(in: head))
        guard let glob = unmatched.min(by: { $0.pattern < $1.pattern }) else { return }
        let message = "--target '\(Escaping.shown(glob.pattern))' means no target of the specs, neither of the base nor of the head"
        terminal.writeError("\(terminal.errors.errorWord): \(message)\n")
        throw ExitCode(1)
    }

    // MARK: What is kept

    private func recallHeld(_ composition: Composition) -> [HeldSetting] {
        do throws(StoreFailure) {
            try composition.inventory.load(from: options.dataDirectoryPath)
        } catch {
            terminal.writeError("note: \(Escaping.shown(error.message)); so hosts and clusters are not compared with those that were there before\n")
        }
        return composition.inventory.held
    }

    private func recallPauses() -> [Pause] {
        do throws(StoreFailure) {
            return try Brake(dataDirectory: options.dataDirectoryPath).pauses()
        } catch {
            terminal.writeError("note: \(Escaping.shown(error.message)); so what is paused is not known\n")
            return []
        }
    }

    // MARK: The repository

    /// - Throws: where no folder around it is a repository.
    private static func url(around folder: String) throws(GitFailure) -> String {
        let manager = FileManager.default
        let start = URL(fileURLWithPath: folder).standardizedFileURL.resolvingSymlinksInPath()
        var place = start
        while true {
            let isBare = ["HEAD", "objects", "refs"].allSatisfy { manager.fileExists(atPath: place.appendingPathComponent($0).path) }
            if isBare || manager.fileExists(atPath: place.appendingPathComponent(".git").path) {
                let path = place.path.addingPercentEncoding(withAllowedCharacters: .urlPathAllowed) ?? place.path
                return "file://\(path)"
            }
            let above = place.deletingLastPathComponent()
            guard above.path != place.path else {
                throw GitFailure(
                    .invalid,
                    "\(start.path) is in no git repository",
                    fix: "Give its URL or its folder: plumb report REPOSITORY --base … ."
                )
            }
            place = above
        }
    }
}

extension Terminal {
    /// Prints why a repository can't be read.
    fileprivate func failed(_ failure: GitFailure) -> any Error {
        let fix = failure.fix.isEmpty ? "" : "\n    \(Escaping.shown(failure.fix))"
        writeError("\(errors.errorWord): \(Escaping.lines(failure.message, indent: "    "))\(fix)\n")
        return ExitCode(1)
    }
}

extension Composition {
    /// What a report asks of the world. A stranger's manifests are not in it: only what the base declares is asked for, and no inventory.
    func pullRequestCollaborators(for audience: PullRequestReport.Audience) -> PullRequestCollaborators {
        PullRequestCollaborators(
            observe: { target, resources in
                guard audience.isForStranger, case .cluster(let cluster) = target else { return await self.observe(target, resources) }
                return self.inventory.checked(await self.observe(cluster, resources, inventory: .none), of: target)
            },
            predict: { target, resources, facts in
                guard !audience.isForStranger, case .cluster(let cluster) = target else { return facts }
                do throws(APIFailure) {
                    let connection = try self.connection(to: cluster)
                    return await ClusterKinds.predict(resources, in: facts, of: cluster.name) { (request) throws(APIFailure) in
                        try await connection.send(request)
                    }
                } catch {
                    return facts
                }
            },
            withoutPast: { ClusterKinds.withoutPast($0) },
            withoutPredictions: { ClusterKinds.withoutPredictions($0) }
        )
    }
}
