import Controller
import Forge
import Logging
import Reporting
import ResourceModel
import Synchronization
import Testing

/// The reporter over a forge and plans in memory.
@Suite struct PullRequestReporterTests {
    private final class World: Sendable {
        struct State {
            var situation = PullRequestWorld.Situation.ready(
                Revision(commit: "b", desired: DesiredState(targets: [], resources: [], contentHash: "")),
                branch: "main"
            )
            var requests: [Int: PullRequest] = [:]
            /// Of each call that is made next, in order.
            var failures: [String: [ForgeFailure]] = [:]
            var plans: [[Int]] = []
            var early: Set<Int> = []
            /// Plans with these wait until they are cancelled.
            var hang: Set<Int> = []
            var posts: [String] = []
            var said: [String] = []
            var lists = 0
            /// For the situation.
            var asked = 0
            var finds = 0
            var underWay = 0
            var mostUnderWay = 0
        }

        let state = Mutex(State())

        private func call(_ name: String) throws(ForgeFailure) {
            let failure: ForgeFailure? = state.withLock { state in
                guard let next = state.failures[name]?.first else { return nil }
                state.failures[name]?.removeFirst()
                return next
            }
            if let failure { throw failure }
        }

        var world: PullRequestWorld {
            PullRequestWorld(
                situation: {
                    self.state.withLock { state in
                        state.asked += 1
                        return state.situation
                    }
                },
                list: { (branch) throws(ForgeFailure) in
                    self.state.withLock { $0.lists += 1 }
                    try self.call("list")
                    return self.state.withLock { $0.requests.values.filter { $0.isOpen && $0.baseRef == branch } }
                },
                find: { (number) throws(ForgeFailure) in
                    self.state.withLock { $0.finds += 1 }
                    try self.call("find")
                    guard let found = self.state.withLock({ $0.requests[number] }) else { throw ForgeFailure(.notFound, "there is none") }
                    return found
                },
                plan: { requests, _ in
                    let (hangs, early) = self.state.withLock { state in
                        state.plans.append(requests.map(\.number).sorted())
                        return (requests.contains { state.hang.contains($0.number) }, state.early)
                    }
                    while hangs, !Task.isCancelled { try? await Task.sleep(for: .seconds(60)) }
                    var plans: [Int: PlannedReport] = [:]
                    for request in requests {
                        plans[request.number] = early.contains(request.number) ? .early("not there yet") : .report(Self.report(request))
                    }
                    return plans
                },
                prepare: { _ in },
                post: { (report, request) throws(ForgeFailure) in
                    try self.call("post")
                    self.state.withLock { $0.posts.append("\(request.number) \(report.head.commit)") }
                    return .updated
                },
                say: { (status, request) throws(ForgeFailure) in
                    try self.call("say")
                    self.state.withLock { $0.said.append("\(request.number) \(status.state.rawValue): \(status.description)") }
                },
                forget: { self.state.withLock { $0.posts.append("forgotten") } }
            )
        }

        private static func report(_ request: PullRequest) -> PullRequestReport {
            PullRequestReport(
                source: "s",
                base: .init(name: "main", commit: "b"),
                head: .init(name: "feature", commit: request.headCommit),
                audience: .init(),
                observedAt: Moment(milliseconds: 0),
                mistakes: []
            )
        }

        func open(_ number: Int, _ head: String, mayWrite: Bool = true, base: String = "main", isOpen: Bool = true) {
            let request = PullRequest(
                number: number,
                author: mayWrite ? "ann" : "eve",
                authorMayWrite: mayWrite,
                isFork: !mayWrite,
                headCommit: head,
                headRef: "feature",
                baseRef: base,
                isPublic: false,
                isOpen: isOpen
            )
            state.withLock { $0.requests[number] = request }
        }

        static func pace(
            poll: Duration = .seconds(3600),
            settling: Duration = .seconds(30),
            deadline: Duration = .seconds(600)
        ) -> PullRequestReporter.Pace {
            var pace = PullRequestReporter.Pace()
            (pace.poll, pace.quiet, pace.betweenChanges) = (poll, .milliseconds(1), .milliseconds(1))
            (pace.longestSettling, pace.deadline, pace.afterStaleAnswer) = (settling, deadline, .milliseconds(1))
            return pace
        }

        func run(
            plansPerAuthor: Int = 10,
            pace: PullRequestReporter.Pace = World.pace(),
            limits: PullRequestAgenda.Limits = PullRequestAgenda.Limits(),
            _ body: (PullRequestReporter, Metrics) async -> Void
        ) async {
            var reports = Configuration.Reports(forge: .gitea, repository: "o/r")
            reports.plansPerAuthor = plansPerAuthor
            let metrics = Metrics()
            let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            let reporter = PullRequestReporter(reports, world: world, pace: pace, limits: limits, metrics: metrics, log: log)
            let running = Task { await reporter.run() }
            await body(reporter, metrics)
            running.cancel()
            await running.value
        }

        func posts(_ expected: [String]) async -> Bool { await eventually { self.state.withLock { $0.posts.sorted() == expected.sorted() } } }
    }

    private func notice(_ number: Int, _ action: PullRequestNotice.Action = .opened, head: String? = nil) -> PullRequestNotice {
        PullRequestNotice(provider: "gitea", repositories: [], number: number, action: action, headCommit: head)
    }

    private var fast: PullRequestAgenda.Limits {
        var limits = PullRequestAgenda.Limits()
        (limits.firstRetry, limits.longestRetry) = (.milliseconds(1), .milliseconds(20))
        return limits
    }

    @Test func whatIsOpenIsFoundWithoutAWebhook() async {
        let world = World()
        world.open(1, "h1")
        world.open(2, "h2", base: "other")
        world.open(3, "h3", isOpen: false)
        await world.run { reporter, _ in
            #expect(await world.posts(["1 h1"]))
            #expect(await reporter.status().open == 1)
        }
    }

    @Test func aNewHeadIsReportedAndAClosedOneIsNot() async {
        let world = World()
        await world.run { reporter, metrics in
            world.open(1, "h1")
            await reporter.note(notice(1))
            #expect(await world.posts(["1 h1"]))
            world.open(1, "h2")
            await reporter.note(notice(1, .updated))
            #expect(await world.posts(["1 h1", "1 h2"]))
            world.open(1, "h2", isOpen: false)
            await reporter.note(notice(1, .closed))
            await reporter.note(.changed(target: "pi-1"))
            await reporter.note(.settled)
            // Not told of, but found to be closed.
            world.open(2, "h", isOpen: false)
            let finds = world.state.withLock { $0.finds }
            await reporter.note(notice(2))
            #expect(await eventually { await reporter.status().open == 0 && world.state.withLock { $0.finds } > finds })
            #expect(await world.posts(["1 h1", "1 h2"]))
            #expect(metrics.render().contains("plumb_reports_total{outcome=\"updated\"} 2\n"))
        }
    }

    @Test func anAnswerThatIsOlderThanTheWebhookIsAskedForAgain() async {
        let world = World()
        await world.run { reporter, _ in
            #expect(await eventually { world.state.withLock { $0.lists } > 0 })
            world.open(1, "h1")
            await reporter.note(notice(1, head: "h1"))
            #expect(await world.posts(["1 h1"]))
            await reporter.note(notice(1, .updated, head: "h2"))
            #expect(await eventually { world.state.withLock { $0.posts.count } >= 2 })
            world.open(1, "h2")
            await reporter.note(notice(1, .updated, head: "h2"))
            #expect(await eventually { world.state.withLock { $0.posts.last } == "1 h2" })
        }
    }

    @Test func allOfABaseArePlannedTogetherOnceItIsCarriedOut() async {
        let world = World()
        for number in 1...50 { world.open(number, "h\(number)") }
        await world.run { reporter, _ in
            #expect(await eventually { world.state.withLock { $0.posts.count } == 50 })
            await reporter.note(.revision)
            // What changes on the way there is no news of its own.
            await reporter.note(.changed(target: "pi-1"))
            await reporter.note(.settled)
            #expect(await eventually { world.state.withLock { $0.posts.count } == 100 })
            let (plans, lists, finds) = world.state.withLock { ($0.plans, $0.lists, $0.finds) }
            #expect(plans == [Array(1...50), Array(1...50)])
            #expect(lists == 2 && finds == 0, "many are told in one answer")
            // What is live changes behind all of them.
            await reporter.note(.changed(target: "pi-1"))
            #expect(await eventually { world.state.withLock { $0.posts.count } == 150 })
            #expect(world.state.withLock { $0.plans.count } == 3)
        }
    }

    @Test func aBaseThatIsNeverQuiteCarriedOutIsReportedAllTheSame() async {
        let world = World()
        world.open(1, "h1")
        await world.run(pace: World.pace(settling: .milliseconds(50))) { reporter, _ in
            #expect(await world.posts(["1 h1"]))
            await reporter.note(.revision)
            #expect(await world.posts(["1 h1", "1 h1"]))
        }
    }

    @Test(arguments: ["list", "find", "post", "say"]) func whatFailsIsSaidAndTriedAgainUntilItIsThrough(call: String) async {
        let world = World()
        let failure = ForgeFailure(.unauthorized, "the token is not taken")
        world.state.withLock { $0.failures[call] = Array(repeating: failure, count: 3) }
        let isLimited = call == "say"
        await world.run(plansPerAuthor: 1, pace: World.pace(poll: call == "list" ? .milliseconds(5) : .seconds(3600)), limits: fast) {
            reporter,
            metrics in
            // What the first list has is not asked for by itself.
            #expect(await eventually { world.state.withLock { $0.lists } > 0 })
            world.open(1, "h1", mayWrite: !isLimited)
            await reporter.note(notice(1))
            if isLimited {
                #expect(await world.posts(["1 h1"]))
                world.open(1, "h2", mayWrite: false)
                await reporter.note(notice(1, .updated))
                #expect(await eventually { world.state.withLock { $0.said.last?.hasPrefix("1 pending: waits its turn") ?? false } })
                #expect(world.state.withLock { $0.posts }.allSatisfy { $0 == "1 h1" })
            } else {
                #expect(await eventually { world.state.withLock { $0.posts.contains("1 h1") && $0.failures[call] == [] } })
            }
            #expect(await eventually { await reporter.status().problem == nil })
            #expect(metrics.render().contains("plumb_reports_total{outcome=\"failed\"} 3\n"), "\(metrics.render())")
        }
    }

    @Test func aProblemStandsInTheStatusForAsLongAsItLasts() async {
        let world = World()
        let failure = ForgeFailure(.unavailable, "500")
        world.state.withLock { $0.failures["post"] = [failure, failure] }
        var slow = fast
        (slow.firstRetry, slow.longestRetry) = (.milliseconds(300), .milliseconds(300))
        await world.run(limits: slow) { reporter, _ in
            world.open(1, "h1")
            await reporter.note(notice(1))
            #expect(await eventually { await reporter.status().problem == "pull request 1 was not reported on: 500" })
            #expect(await world.posts(["1 h1"]))
            #expect(await eventually { await reporter.status().problem == nil })
        }
        world.state.withLock { $0.failures["post"] = Array(repeating: failure, count: 1000) }
        await world.run(limits: fast) { reporter, _ in
            #expect(await eventually { await reporter.status().problem != nil })
            await reporter.note(notice(1, .closed))
            #expect(await eventually { await reporter.status().problem == nil }, "what is closed is nobody's problem")
        }
    }

    @Test func oneThatHangsHoldsNoOtherUpAndEndsAtTheDeadline() async {
        let world = World()
        world.state.withLock { $0.hang = [1] }
        await world.run(pace: World.pace(deadline: .milliseconds(200)), limits: fast) { reporter, _ in
            world.open(1, "h1")
            await reporter.note(notice(1))
            #expect(await eventually { !world.state.withLock { $0.plans.isEmpty } })
            world.open(2, "h2")
            await reporter.note(notice(2))
            #expect(await eventually { world.state.withLock { $0.posts.contains("2 h2") } })
            #expect(await eventually { world.state.withLock { $0.said.first == "1 error: the report could not be made; it is tried again" } })
            world.state.withLock { $0.hang = [] }
            #expect(await eventually { world.state.withLock { $0.posts.contains("1 h1") } })
        }
    }

    @Test func aHeadThatIsNotThereYetIsWaitedForWithoutAWord() async {
        let world = World()
        world.state.withLock { $0.early = [1] }
        await world.run(limits: fast) { reporter, metrics in
            world.open(1, "h1")
            await reporter.note(notice(1))
            #expect(await eventually { world.state.withLock { $0.plans.count } >= 3 })
            world.state.withLock { $0.early = [] }
            #expect(await world.posts(["1 h1"]))
            #expect(world.state.withLock { $0.said.isEmpty })
        }
    }

    @Test func whoFollowsReportsNothing() async {
        let world = World()
        world.open(1, "h1")
        let ready = world.state.withLock { state in
            defer { state.situation = .waiting }
            return state.situation
        }
        await world.run { reporter, _ in
            await reporter.note(notice(1))
            await reporter.note(.settled)
            // What is due and can't be done is no reason to ask again and again.
            try? await Task.sleep(for: .milliseconds(100))
            #expect(world.state.withLock { $0.plans.isEmpty && $0.lists == 0 && $0.asked < 10 })
            world.state.withLock { $0.situation = ready }
            await reporter.note(.leading(true))
            // What the one before has posted is not known here.
            #expect(await eventually { world.state.withLock { $0.posts == ["forgotten", "1 h1"] } })
        }
        world.state.withLock { $0.situation = .impossible("a tag is followed") }
        await world.run { reporter, _ in #expect(await eventually { await reporter.status().problem == "a tag is followed" }) }
    }

    @Test func whoNoLongerLeadsPostsNothing() async {
        let world = World()
        world.open(1, "h1")
        world.state.withLock { $0.hang = [1] }
        await world.run(pace: World.pace(deadline: .milliseconds(300))) { _, _ in
            #expect(await eventually { world.state.withLock { $0.plans.count } == 1 })
            let asked = world.state.withLock { state in
                state.situation = .waiting
                return state.asked
            }
            #expect(await eventually { world.state.withLock { $0.asked } > asked })
            let (posts, said) = world.state.withLock { ($0.posts, $0.said) }
            #expect(posts == [] && said == [])
        }
    }

    @Test func aStrangersNewHeadsWaitTheirTurn() async {
        let world = World()
        await world.run(plansPerAuthor: 2) { reporter, _ in
            for head in ["h1", "h2"] {
                world.open(1, head, mayWrite: false)
                await reporter.note(notice(1, .updated))
                #expect(await eventually { world.state.withLock { $0.posts.last == "1 \(head)" } })
            }
            world.open(1, "h3", mayWrite: false)
            await reporter.note(notice(1, .updated))
            #expect(await eventually { world.state.withLock { $0.said.count } == 1 })
            #expect(world.state.withLock { $0.said[0].hasPrefix("1 pending: waits its turn: 2 plans an hour") })
            #expect(await reporter.status().waiting == 1)
            world.open(2, "w", mayWrite: true)
            await reporter.note(notice(2))
            #expect(await world.posts(["1 h1", "1 h2", "2 w"]))
        }
    }

    /// A head that waits is told so in the same words each time, which are sent once, and after those that are planned.
    @Test func manyThatWaitHoldNobodyUp() async {
        let world = World()
        var limits = fast
        limits.pauseOfExhausted = .milliseconds(1)
        await world.run(plansPerAuthor: 1, limits: limits) { reporter, _ in
            world.open(1, "h1", mayWrite: false)
            await reporter.note(notice(1))
            #expect(await world.posts(["1 h1"]))
            for number in 2...9 { world.open(number, "h\(number)", mayWrite: false) }
            world.open(10, "w")
            for number in 2...10 { await reporter.note(notice(number)) }
            #expect(await world.posts(["1 h1", "10 w"]))
            #expect(await eventually { world.state.withLock { Set($0.said.map { $0.prefix(2) }).count } == 8 })
            await reporter.note(.changed(target: "x"))
            #expect(await eventually { world.state.withLock { $0.said.count } >= 16 })
            let said = world.state.withLock { $0.said }
            #expect(Set(said.map { $0.drop { $0 != " " } }).count == 1, "\(said)")
        }
    }
}
