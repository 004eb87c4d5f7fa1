import Controller
import Forge
import Foundation
import Git
import Logging
import Reconciling
import Reporting
import ResourceModel
import SpecLoading
import SpecSources
import Stores
import Synchronization

/// Plans open pull requests for the controller, all that are due together from one observation. It has connections of its own, so that it takes nothing
/// from those that reconcile, and writes nothing but what it has fetched.
final class PullRequestPlanner: Sendable {
    private let world: ControllerComposition
    private let reports: Configuration.Reports
    private let log: Logger
    private let heads = Mutex(Heads())

    /// Processes that read heads at the same time.
    private static let readers = 3

    init(_ reports: Configuration.Reports, world: ControllerComposition, log: Logger) {
        self.reports = reports
        self.world = world
        self.log = log
    }

    private var source: Configuration.Source { world.configuration.source }

    func plan(_ requests: [PullRequest], _ base: Revision) async -> [Int: PlannedReport] {
        guard let commit = base.commit else { return [:] }
        let heads = await read(requests, base, commit)
        var planned: [Int: PlannedReport] = [:]
        var candidates: [Candidate] = []
        for request in requests {
            let audience = audience(of: request)
            let revisions = Revisions(
                base: .init(name: request.baseRef, commit: commit),
                head: .init(name: request.headRef, commit: request.headCommit)
            )
            switch heads[request.number] ?? .failed("its specs were not read in time") {
            case .early(let why): planned[request.number] = .early(why)
            case .failed(let why): planned[request.number] = .failed(why)
            case .wrong(let mistakes):
                planned[request.number] = .report(
                    PullRequestReport(
                        source: shown,
                        base: revisions.base,
                        head: revisions.head,
                        audience: audience,
                        observedAt: .now,
                        mistakes: mistakes
                    )
                )
            case .specs(let desired, let join):
                let both = pass(base.desired, desired, revisions, audience)
                candidates.append(Candidate(number: request.number, revisions: revisions, audience: audience, pass: both, join: join))
            }
        }
        if candidates.isEmpty || Task.isCancelled { return planned }
        for (number, report) in await compare(candidates) { planned[number] = .report(report) }
        return planned
    }

    private typealias Revisions = (base: PullRequestReport.Revision, head: PullRequestReport.Revision)

    private struct Candidate {
        var number: Int
        var revisions: Revisions
        var audience: PullRequestReport.Audience
        var pass: PullRequestPass
        var join: GitJoin?
    }

    private var shown: String { Source.shown(source.url) }

    private func audience(of request: PullRequest) -> PullRequestReport.Audience {
        let hides =
            switch reports.hideValues {
            case .auto: request.isPublic
            case .always: true
            case .never: false
            }
        return PullRequestReport.Audience(isForStranger: request.isFork || !request.authorMayWrite, hidesValues: hides)
    }

    private func pass(_ base: DesiredState, _ head: DesiredState, _ revisions: Revisions, _ audience: PullRequestReport.Audience) -> PullRequestPass {
        let pauses = (try? world.brake.pauses()) ?? []
        let held = audience.isForStranger ? [] : world.held()
        func pass(_ desired: DesiredState, _ revision: PullRequestReport.Revision) -> Pass {
            var pass = Pass(
                desired: desired,
                kinds: Source.kinds,
                revision: revision.commit,
                source: shown,
                concurrency: concurrency,
                maxDeletes: world.configuration.limits.maxDeletes
            )
            pass.held = held
            pass.pauses = pauses
            return pass
        }
        return PullRequestPass(
            base: pass(base, revisions.base),
            head: pass(head, revisions.head),
            isForStranger: audience.isForStranger,
            comparesValues: audience.comparesValues
        )
    }

    /// Half of what reconciling may use.
    private var concurrency: Int { max(1, world.configuration.limits.concurrency / 2) }

    private func compare(_ candidates: [Candidate]) async -> [(Int, PullRequestReport)] {
        // Neither locks nor undos: it can't change anything.
        let composition = Composition(options: world.options, source: world.composition.inventories.source) { [log] in log.debug("\($0)") }
        do throws(StoreFailure) { try composition.inventory.load(from: world.dataPath) } catch {
            log.warning("for reports, hosts are not compared with those that were there before: \(error.message)")
        }
        let observedAt = Moment.now
        let outcomes = await PullRequestBatch(candidates.map(\.pass)).compare(concurrency: concurrency) { isForStranger in
            composition.pullRequestCollaborators(for: .init(isForStranger: isForStranger))
        }
        await composition.close()
        return zip(candidates, outcomes).map { candidate, outcome in
            var report = PullRequestReport(
                source: shown,
                base: candidate.revisions.base,
                head: candidate.revisions.head,
                audience: candidate.audience,
                observedAt: observedAt,
                plans: (outcome.base, outcome.head),
                difference: outcome.difference,
                part: candidate.pass.strangersPart,
                targets: candidate.pass.targets
            )
            if let note = candidate.join?.note { report.notes.append(note) }
            return (candidate.number, report)
        }
    }

    // MARK: Heads

    private enum Head: Sendable {
        case specs(DesiredState, GitJoin?)
        case wrong([Annotation])
        case early(String)
        case failed(String)
    }

    private func read(_ requests: [PullRequest], _ base: Revision, _ commit: String) async -> [Int: Head] {
        var open = requests.makeIterator()
        return await withTaskGroup(of: (Int, Head).self) { group in
            func startNext() {
                guard let request = open.next() else { return }
                group.addTask { (request.number, await self.read(request, base, commit)) }
            }
            for _ in 0..<Self.readers { startNext() }
            var heads: [Int: Head] = [:]
            while let (number, head) = await group.next() {
                startNext()
                heads[number] = head
            }
            return heads
        }
    }

    private func read(_ request: PullRequest, _ base: Revision, _ commit: String) async -> Head {
        let isForStranger = audience(of: request).isForStranger
        let key = "\(request.headCommit) \(commit) \(isForStranger)"
        if let known = heads.withLock({ $0[key] }) { return known }
        let reading = PullRequestReading(isForStranger: isForStranger, contextIsGiven: world.options.context != nil || Source.isInPod)
        var git = world.gitOptions(cache: "git-pull-requests")
        git.limits = reading.limits(after: base.amount)
        let tree: GitTree
        do throws(GitFailure) {
            // By the commit that the forge has named: a branch may be another one by now.
            let location = try GitLocation(source: source.url, revision: request.headCommit, path: source.path)
            guard case .read(let found) = try await GitRepository(options: git).read(location, into: commit) else {
                return .early("\(location.shown) gave no specs")
            }
            tree = found
        } catch {
            switch error.cause {
            case .absent: return .early(error.message)
            // Too much, or damaged: whoever reads the pull request has to know.
            case .refused, .invalid: return .wrong([Annotation(path: "", message: error.message, fix: error.fix)])
            case .unreachable, .denied, .timedOut: return .failed(error.message)
            }
        }
        let head: Head
        switch reading.load(tree, after: base.desired) {
        case .failure(let mistakes): head = .wrong(mistakes.annotations)
        case .success(let desired):
            // What the policy of this machine would refuse once it is merged.
            let objections = world.configuration.policy.objections(to: desired)
            head = objections.isEmpty ? .specs(desired, tree.join) : .wrong(objections.map(Annotation.init))
        }
        heads.withLock { $0[key] = head }
        return head
    }

    /// What was read of heads. A commit never becomes another one, so that nothing is read again only because something has changed live.
    private struct Heads {
        /// Of all together; a stranger's specs may come to thousands.
        private static let mostResources = 100_000
        private static let most = 500

        private var heads: [String: (head: Head, size: Int)] = [:]
        private var order: [String] = []
        private var size = 0

        subscript(key: String) -> Head? {
            get { heads[key]?.head }
            set {
                guard let head = newValue, heads[key] == nil else { return }
                let count =
                    switch head {
                    case .specs(let desired, _): desired.resources.count + desired.targets.count
                    // A few megabytes can hold a mistake in every line.
                    case .wrong(let mistakes): mistakes.count
                    case .early, .failed: 1
                    }
                if count > Self.mostResources / 4 { return }
                heads[key] = (head, count)
                order.append(key)
                size += count
                while size > Self.mostResources || order.count > Self.most {
                    size -= heads.removeValue(forKey: order.removeFirst())?.size ?? 0
                }
            }
        }
    }
}

extension Moment {
    fileprivate static var now: Moment { Moment(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)) }
}
