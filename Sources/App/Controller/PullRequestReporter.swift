package import Forge
import Foundation
package import Logging
import Reporting

/// Keeps one report at every open pull request true: planned when it is opened, has new commits, when its base moves, when what is live changes
/// behind it, and at every poll.
///
/// - Guarantees: reconciling never waits for it; it writes nothing but reports. Those that are due together are planned together, from one
///   observation. What can't be reported is tried again until the request is closed, and is said in the log, the metrics and the status.
package actor PullRequestReporter {
    package struct Pace: Sendable, Hashable {
        /// How often the forge is asked for what is open.
        package var poll = Duration.seconds(300)
        /// The same once webhooks tell of pull requests.
        package var pollWithWebhooks = Duration.seconds(3600)
        /// After something has changed live: more may follow at once.
        package var quiet = Duration.seconds(1)
        /// Between two observations only because something has changed live.
        package var betweenChanges = Duration.seconds(10)
        /// After it was found that there is nothing to report yet.
        package var idle = Duration.seconds(2)
        /// How long the carrying out of a new base is waited for, before it is reported what is open.
        package var longestSettling = Duration.seconds(30)
        /// Where a webhook has named another head than the forge's answer.
        package var afterStaleAnswer = Duration.seconds(3)
        /// Batches that are planned at the same time: one that hangs holds no other up.
        package var batches = 2
        package var posts = 4
        /// Of one batch, from the first question to the plans.
        package var deadline = Duration.seconds(600)

        package init() {}
    }

    private let world: PullRequestWorld
    private let reports: Configuration.Reports
    private let pace: Pace
    private let metrics: Metrics
    private let log: Logger
    private let origin = ContinuousClock.now

    private var agenda: PullRequestAgenda
    private var nextPoll = Duration.zero
    private var hasAsked = false
    /// Another one has led, and reported, since something was posted from here.
    private var leadsAnew = false
    /// There is nothing to report, or nobody to report it: another one leads.
    private var idleUntil = Duration.zero
    private var webhooksArrive = false
    /// Heads that webhooks have named: the forge's own answer may be older for a moment.
    private var announced: [Int: String] = [:]
    private var pollFailures = 0
    private var running: [Int: Task<Void, Never>] = [:]
    private var lastRun = 0
    private var planning = 0
    private var lastObserved: Duration?
    /// A new base is being carried out, at most until then: what is reported meanwhile would have to be reported again.
    private var settlingUntil: Duration?
    private var signal: CheckedContinuation<Void, Never>?
    private var timer: Task<Void, Never>?

    // For people.
    private var lastPosted: Date?
    private var waiting: [Int: Date] = [:]
    /// By number; nil: all of them.
    private var problems: [Int?: (message: String, since: Date)] = [:]

    package init(
        _ reports: Configuration.Reports,
        world: PullRequestWorld,
        pace: Pace = Pace(),
        limits: PullRequestAgenda.Limits = PullRequestAgenda.Limits(),
        metrics: Metrics,
        log: Logger
    ) {
        self.reports = reports
        self.world = world
        self.pace = pace
        self.metrics = metrics
        self.log = log
        var limits = limits
        limits.plansPerAuthor = reports.plansPerAuthor
        agenda = PullRequestAgenda(limits: limits)
    }

    private var now: Duration { origin.duration(to: .now) }
    private var isSettling: Bool { settlingUntil.map { $0 > now } ?? false }
    private var pollDue: Duration { max(nextPoll, settlingUntil ?? .zero) }

    // MARK: What happens

    /// A webhook tells of a pull request.
    package func note(_ notice: PullRequestNotice) {
        webhooksArrive = true
        announced[notice.number] = nil
        switch notice.action {
        case .closed:
            agenda.forget(notice.number)
            forgetProblem(notice.number)
        case .opened, .updated, .reopened, .baseChanged:
            if agenda.request(notice.number, because: notice.action.rawValue, at: now) { announced[notice.number] = notice.headCommit }
        }
        wake()
    }

    package func note(_ news: ControllerNews) {
        switch news {
        case .revision:
            settlingUntil = now + pace.longestSettling
            agenda.requestAll(because: "base", at: now, after: pace.longestSettling)
        case .settled:
            settlingUntil = nil
            idleUntil = .zero
            agenda.requestAll(because: "base", at: now)
            // The first one is what the first question waits for.
            if !hasAsked { nextPoll = now }
        case .changed:
            // What is on its way to the new base is reported when it is there.
            if isSettling { return }
            let pause = lastObserved.map { max(pace.quiet, $0 + pace.betweenChanges - now) } ?? pace.quiet
            agenda.requestAll(because: PullRequestAgenda.drift, at: now, after: pause)
        case .leading(let leads):
            if leads { (nextPoll, idleUntil, leadsAnew) = (now, .zero, true) }
        }
        wake()
    }

    package func status() -> ControllerStatus.ReportsStatus {
        let problem = problems.sorted { ($0.key ?? 0) < ($1.key ?? 0) }.first
        return ControllerStatus.ReportsStatus(
            forge: reports.forge.rawValue,
            repository: reports.repository,
            open: agenda.open.count,
            waiting: waiting.count,
            lastPosted: lastPosted,
            problem: problem?.value.message,
            problemSince: problem?.value.since
        )
    }

    // MARK: The loop

    /// Until the task is cancelled.
    package func run() async {
        while !Task.isCancelled {
            await startWhatIsDue()
            if Task.isCancelled { break }
            await rest()
        }
        for task in running.values { task.cancel() }
        for task in running.values { await task.value }
    }

    private func startWhatIsDue() async {
        guard let turn = nextTurn, turn <= now else { return }
        let revision: Revision
        let branch: String
        switch await world.situation() {
        case .ready(let found, let name): (revision, branch) = (found, name)
        case .waiting:
            idleUntil = now + pace.idle
            return
        case .impossible(let why):
            note(problem: why, of: nil)
            idleUntil = now + .seconds(60)
            return
        }
        if leadsAnew {
            leadsAnew = false
            await world.forget()
        }
        let isPoll = pollDue <= now
        let batch = isPoll ? [:] : agenda.takeDue(at: now)
        guard isPoll || !batch.isEmpty else { return }
        if isPoll {
            nextPoll = now + (webhooksArrive ? pace.pollWithWebhooks : pace.poll)
            hasAsked = true
        }
        lastRun += 1
        let run = lastRun
        planning += 1
        let began = now
        running[run] = Task {
            await self.carryOut(batch, revision, branch, isPoll: isPoll, began)
            self.ended(run)
        }
    }

    /// When something may be started next; nil: not before something ends, or happens.
    private var nextTurn: Duration? {
        if planning >= pace.batches { return nil }
        return max(min(agenda.nextDue ?? pollDue, pollDue), idleUntil)
    }

    private func ended(_ run: Int) {
        running[run] = nil
        wake()
    }

    private func rest() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let due = nextTurn
                if Task.isCancelled || due.map({ $0 <= now }) ?? false { return continuation.resume() }
                signal = continuation
                guard let due else { return }
                let delay = due - now
                timer = Task {
                    try? await Task.sleep(for: delay)
                    if !Task.isCancelled { self.wake() }
                }
            }
        } onCancel: {
            Task { await self.wake() }
        }
        timer?.cancel()
    }

    private func wake() {
        signal?.resume()
        signal = nil
    }

    // MARK: One batch

    /// - Parameter batch: What is due; at a poll all that are open are.
    private func carryOut(_ batch: [Int: [String]], _ revision: Revision, _ branch: String, isPoll: Bool, _ began: Duration) async {
        var batch = batch
        var isPlanning = true
        func planned() {
            if isPlanning { planning -= 1 }
            isPlanning = false
            wake()
        }
        defer { planned() }
        var listed: Result<[Int: PullRequest], ForgeFailure>?
        if isPoll {
            listed = await list(branch)
            if case .success? = listed { agenda.requestAll(because: "poll", at: now, notTakenSince: began) }
            batch = agenda.takeDue(at: now)
        }
        metrics.set(.reportsOpen, to: Double(agenda.open.count))
        guard !batch.isEmpty else { return }
        // Many are told in one answer.
        if listed == nil, batch.count > 2 { listed = await list(branch) }
        var known: [Int: PullRequest] = [:]
        switch listed {
        case .success(let found)?: known = found
        case .failure(let failure)?:
            // Not one after the other into the same wall.
            for number in batch.keys { fail(number, nil, retryAfter: failure.retryAfter) }
            return
        case nil: break
        }
        let (requests, later) = await look(at: batch.keys.sorted(), branch, known)
        guard !requests.isEmpty else {
            planned()
            for (request, until) in later { await sayItWaits(request, until: until) }
            return
        }

        let preparing = Task { [world] in
            for request in requests where !Task.isCancelled { await world.prepare(request.number) }
        }
        lastObserved = now
        let plans = await plan(requests, revision)
        planned()
        await post(requests, plans, batch, began)
        preparing.cancel()
        await preparing.value
        // Whoever has opened a hundred of them is told last.
        for (request, until) in later { await sayItWaits(request, until: until) }
    }

    private func list(_ branch: String) async -> Result<[Int: PullRequest], ForgeFailure> {
        let asked = now
        do throws(ForgeFailure) {
            let found = try await world.list(branch)
            agenda.take(list: found.map(\.number), askedAt: asked)
            for number in problems.keys.compactMap(\.self) where !agenda.open.contains(number) { forgetProblem(number) }
            forgetProblem(nil)
            pollFailures = 0
            return .success(Dictionary(found.map { ($0.number, $0) }) { first, _ in first })
        } catch {
            pollFailures += 1
            let backoff = min(pace.poll, .seconds(1 << min(pollFailures, 9))) * Double.random(in: 1...1.25)
            nextPoll = now + max(backoff, error.retryAfter ?? .zero)
            metrics.increment(.reports, ["outcome": "failed"])
            note(problem: "which pull requests are open can't be asked: \(error.message)", of: nil)
            return .failure(error)
        }
    }

    /// Asks for those that are not known yet, and sorts out what is not to be planned, or not now.
    private func look(
        at numbers: [Int],
        _ branch: String,
        _ known: [Int: PullRequest]
    ) async -> (now: [PullRequest], later: [(PullRequest, until: Duration)]) {
        var requests: [PullRequest] = []
        var later: [(PullRequest, until: Duration)] = []
        for number in numbers {
            var found = known[number]
            if found == nil {
                do throws(ForgeFailure) { found = try await world.find(number) } catch {
                    if error.cause == .notFound {
                        // Or all of them are, to a token that has lost its rights.
                        nextPoll = min(nextPoll, now + .seconds(60))
                        finish(number, .gone)
                    } else {
                        fail(number, "pull request \(number) can't be asked for: \(error.message)", retryAfter: error.retryAfter)
                    }
                }
            }
            guard let request = found else { continue }
            guard request.isOpen, request.baseRef == branch else {
                finish(number, .gone)
                continue
            }
            if let head = announced.removeValue(forKey: number), head != request.headCommit {
                agenda.request(number, because: "updated", at: now, after: pace.afterStaleAnswer)
            }
            switch agenda.verdict(on: request, at: now) {
            case .plan:
                waiting[number] = nil
                requests.append(request)
            case .wait(let until): later.append((request, until))
            }
        }
        return (requests, later)
    }

    private func sayItWaits(_ request: PullRequest, until: Duration) async {
        guard !Task.isCancelled, agenda.open.contains(request.number) else { return finish(request.number, .gone) }
        let date = Date() + (until - now) / .seconds(1)
        if waiting[request.number] == nil {
            log.info("planned later: its author has had \(reports.plansPerAuthor) plans this hour", metadata: ["pullRequest": "\(request.number)"])
        }
        waiting[request.number] = date
        // Without a time: it is another one whenever the author has had a plan, and each of a hundred heads would be told again.
        let words = "waits its turn: \(reports.plansPerAuthor) plans an hour for who may not write to the repository"
        do throws(ForgeFailure) {
            try await world.say(ReportStatus(.pending, words), request)
            metrics.increment(.reports, ["outcome": "waiting"])
            problems[request.number] = nil
            finish(request.number, .waits(until: until))
        } catch {
            fail(request.number, "the status of pull request \(request.number) was not set: \(error.message)", retryAfter: error.retryAfter)
        }
    }

    private func plan(_ requests: [PullRequest], _ revision: Revision) async -> [Int: PlannedReport] {
        let (plan, deadline) = (world.plan, pace.deadline)
        return await withTaskGroup(of: [Int: PlannedReport]?.self) { group in
            group.addTask { await plan(requests, revision) }
            group.addTask {
                try? await Task.sleep(for: deadline)
                return nil
            }
            defer { group.cancelAll() }
            guard let first = await group.next(), let plans = first else { return [:] }
            return plans
        }
    }

    // MARK: Posting

    private func post(_ requests: [PullRequest], _ plans: [Int: PlannedReport], _ batch: [Int: [String]], _ began: Duration) async {
        // Another one may lead by now, and have reported what is newer.
        guard case .ready = await world.situation() else {
            for request in requests { finish(request.number, .done) }
            return
        }
        var open = requests.makeIterator()
        await withTaskGroup(of: Void.self) { group in
            func startNext() {
                guard let request = open.next() else { return }
                let plan = plans[request.number] ?? .failed("it was not planned in time")
                group.addTask { await self.post(request, plan, because: batch[request.number] ?? [], began) }
            }
            for _ in 0..<max(1, pace.posts) { startNext() }
            while let _ = await group.next() { startNext() }
        }
    }

    private func post(_ request: PullRequest, _ plan: PlannedReport, because reasons: [String], _ began: Duration) async {
        let number = request.number
        // Closed meanwhile: it is left alone.
        guard !Task.isCancelled, agenda.open.contains(number) else { return finish(number, .gone) }
        do throws(ForgeFailure) {
            switch plan {
            case .early(let why):
                // A push that is announced before it can be fetched; an old one that another has overtaken.
                guard agenda.failures(of: number) >= 4 else { return finish(number, .failed(retryAfter: nil)) }
                throw ForgeFailure(.notFound, why)
            case .failed(let why):
                _ = try await world.say(ReportStatus(.error, "the report could not be made; it is tried again"), request)
                throw ForgeFailure(.unavailable, why)
            case .report(let report):
                let outcome = try await world.post(report, request)
                lastPosted = Date()
                forgetProblem(number)
                metrics.increment(.reports, ["outcome": outcome.rawValue])
                metrics.observe(.reportSeconds, seconds: (now - began) / .seconds(1))
                log.info(
                    "reported: \(report.headline)",
                    metadata: [
                        "pullRequest": "\(number)", "comment": "\(outcome.rawValue)", "because": "\(reasons.joined(separator: ", "))",
                        "took": "\(Int((now - began) / .milliseconds(1))) ms",
                    ]
                )
                finish(number, .done)
            }
        } catch {
            fail(number, "pull request \(number) was not reported on: \(error.message)", retryAfter: error.retryAfter)
        }
    }

    private func finish(_ number: Int, _ outcome: PullRequestAgenda.Outcome) {
        if outcome == .gone {
            announced[number] = nil
            forgetProblem(number)
        }
        agenda.finish(number, outcome, at: now, chance: .random(in: 0...1))
        wake()
    }

    /// - Parameter message: nil: it was said of all of them.
    private func fail(_ number: Int, _ message: String?, retryAfter: Duration?) {
        // What was closed meanwhile is nobody's problem.
        guard agenda.open.contains(number) else { return finish(number, .gone) }
        if let message {
            metrics.increment(.reports, ["outcome": "failed"])
            note(problem: message, of: number)
        }
        let delay = agenda.finish(number, .failed(retryAfter: retryAfter), at: now, chance: .random(in: 0...1))
        log.debug("tried again in \((delay ?? .zero).components.seconds) s", metadata: ["pullRequest": "\(number)"])
        wake()
    }

    /// Said once, and again when it is another one.
    private func note(problem message: String, of number: Int?) {
        if problems[number]?.message != message { log.warning("\(message)") }
        problems[number] = (message, problems[number]?.since ?? Date())
    }

    private func forgetProblem(_ number: Int?) {
        if let number { waiting[number] = nil }
        if problems.removeValue(forKey: number) != nil, number == nil || agenda.open.contains(number ?? 0) {
            log.info("reported again", metadata: number.map { ["pullRequest": "\($0)"] })
        }
    }
}

extension Metrics.Metric {
    static let reports = Self(
        "plumb_reports_total",
        .counter,
        "Reports on pull requests, by what became of the comment: created, updated, unchanged, failed, waiting."
    )
    static let reportsOpen = Self("plumb_reports_open", .gauge, "Open pull requests for the followed branch.")
    static let reportSeconds = Self("plumb_report_seconds", .histogram, "From the time a report was due until it was posted.")
}
