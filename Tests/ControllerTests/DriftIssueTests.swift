import Controller
import Forge
import Logging
import Planning
import Reporting
import ResourceModel
import Synchronization
import Testing

/// What is only reported, and when an issue says so.
@Suite struct DriftIssueTests {
    // MARK: When

    @Test func whatChangesTogetherIsSaidTogether() {
        var pace = DriftIssuePace()
        #expect(pace.due == nil)
        pace.changed(at: .seconds(10))
        pace.changed(at: .seconds(12))
        #expect(pace.due == .seconds(15))
        pace.said(at: .seconds(16))
        #expect(pace.due == nil)
    }

    @Test func thereIsAMinuteBetweenTwoTexts() {
        var pace = DriftIssuePace()
        pace.changed(at: .zero)
        pace.said(at: .seconds(6))
        pace.changed(at: .seconds(7))
        #expect(pace.due == .seconds(66))
        pace.said(at: .seconds(66))
        pace.changed(at: .seconds(500))
        #expect(pace.due == .seconds(505))
        pace.isUpToDate()
        #expect(pace.due == nil)
    }

    @Test func whatFailsIsTriedAgainLaterEachTime() {
        var pace = DriftIssuePace()
        pace.changed(at: .zero)
        var now = Duration.seconds(5)
        for expected in [5, 10, 20, 40, 80, 160, 320, 640, 900, 900, 900] {
            pace.failed(at: now, retryAfter: nil, chance: 1)
            #expect(pace.due == now + .seconds(expected))
            // Another change is taken along, and does not hurry it.
            pace.changed(at: now)
            #expect(pace.due == now + .seconds(expected))
            now = pace.due ?? now
        }
        pace.failed(at: now, retryAfter: .seconds(3000), chance: 0)
        #expect(pace.due == now + .seconds(3000))
        pace.said(at: now)
        pace.changed(at: now + .seconds(100))
        pace.failed(at: now, retryAfter: nil, chance: 0)
        #expect(pace.due == now + .milliseconds(2500))
    }

    // MARK: What

    private static let configuration: Configuration = {
        let text = """
            source: {url: /srv/specs}
            policy: {apply: report, rules: [{targets: ["pi-9/*"], apply: auto}]}
            reports: {forge: github, repository: o/r, tokenFile: /t, pullRequests: false, driftIssue: true}
            """
        do throws(ConfigurationMistakes) { return try Configuration(yaml: Array(text.utf8), file: "plumb.yaml") } catch {
            Issue.record("\(error.diagnostics)")
            return Configuration()
        }
    }()

    private func addresses(_ drift: ReportedDrift?) -> [String]? { drift?.actions.map(\.address.description) }

    @Test func onlyWhatIsLeftAsItIsIsReported() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400, "pi-2/mtu": 1400, "pi-9/mtu": 1400])
        await world.run(Self.configuration) { controller in
            #expect(await eventually { addresses(await controller.reportedDrift()) == ["pi-1/Setting/mtu", "pi-2/Setting/mtu"] })
            #expect(world.state.withLock { $0.changes } == ["pi-9/Setting/mtu"])
            let drift = await controller.reportedDrift()
            #expect(drift?.revision.name == "main" && drift?.revision.commit == "a1" && drift?.unread == [])
            world.change("pi-1", "mtu", to: 1400)
            #expect(await eventually { addresses(await controller.reportedDrift()) == ["pi-2/Setting/mtu"] })
            // Another revision declares what is live.
            world.push("b2", ["pi-1/mtu": 1400, "pi-9/mtu": 1400])
            await controller.announce(commit: "b2", byWebhook: false)
            #expect(await eventually { await controller.reportedDrift()?.revision.commit == "b2" })
            #expect(addresses(await controller.reportedDrift()) == [])
        }
    }

    @Test func nothingIsKnownBeforeAllWasLookedAtAndWhatCanNotBeReadIsSaid() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400, "pi-2/mtu": 1400])
        world.state.withLock { $0.dead["pi-2"] = .milliseconds(300) }
        await world.run(Self.configuration) { controller in
            #expect(await eventually { await controller.status().targets.first { $0.name == "pi-1" }?.standing == .drifting })
            #expect(await eventually { await controller.reportedDrift()?.unread.map(\.target) == ["pi-2"] })
            #expect(addresses(await controller.reportedDrift()) == ["pi-1/Setting/mtu"])
        }
    }

    @Test func aTargetThatGoesAwayKeepsWhatWasKnownOfIt() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400, "pi-2/mtu": 1400])
        await world.run(Self.configuration) { controller in
            #expect(await eventually { addresses(await controller.reportedDrift())?.count == 2 })
            world.state.withLock { $0.dead["pi-1"] = .zero }
            world.tell("pi-1", .connected)
            #expect(await eventually { await controller.reportedDrift()?.unread.map(\.target) == ["pi-1"] })
            #expect(addresses(await controller.reportedDrift()) == ["pi-1/Setting/mtu", "pi-2/Setting/mtu"])
        }
    }

    @Test func whatMayBePassingThroughIsNotReportedYet() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/hourly": 1, "pi-1/lasting": 1, "pi-1/mtu": 1400])
        await world.run(Self.configuration) { controller in
            #expect(await eventually { addresses(await controller.reportedDrift()) == ["pi-1/Setting/lasting", "pi-1/Setting/mtu"] })
            #expect(await controller.status().targets.first?.open.count == 3)
        }
    }

    @Test func whoFollowsSaysNothing() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400])
        await world.run(Self.configuration) { controller in
            #expect(await eventually { addresses(await controller.reportedDrift())?.count == 1 })
            await controller.setLeading(false)
            #expect(await controller.reportedDrift() == nil)
        }
    }

    // MARK: Said

    private final class Forge: Sendable {
        let state = Mutex<(said: [[String]], failures: [ForgeFailure], asked: Int)>(([], [], 0))

        func post(_ drift: ReportedDrift) -> Result<String, ForgeFailure> {
            state.withLock { state in
                state.asked += 1
                if !state.failures.isEmpty { return .failure(state.failures.removeFirst()) }
                state.said.append(drift.actions.map(\.address.description))
                return .success("said")
            }
        }

        var said: [[String]] { state.withLock { $0.said } }
    }

    private func keep(_ forge: Forge, _ controller: Controller, _ body: (DriftIssueKeeper) async throws -> Void) async rethrows {
        let pace = DriftIssuePace(
            gathering: .milliseconds(50),
            between: .milliseconds(200),
            firstDelay: .milliseconds(20),
            longestDelay: .milliseconds(50)
        )
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let keeper = DriftIssueKeeper(controller: controller, metrics: Metrics(), log: log, pace: pace) { forge.post($0) }
        let running = Task { await keeper.run() }
        try await body(keeper)
        running.cancel()
        await running.value
    }

    @Test func isSaidWhileItDiffersAndWhenItNoLongerDoes() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400, "pi-2/mtu": 1400])
        let forge = Forge()
        await world.run(Self.configuration) { controller in
            await keep(forge, controller) { keeper in
                #expect(await eventually { forge.said.last == ["pi-1/Setting/mtu", "pi-2/Setting/mtu"] })
                world.change("pi-1", "mtu", to: 1400)
                world.change("pi-2", "mtu", to: 1400)
                #expect(await eventually { forge.said.last == [] })
                #expect(await eventually { await keeper.status().differences == 0 })
                world.change("pi-2", "mtu", to: 9)
                #expect(await eventually { forge.said.last == ["pi-2/Setting/mtu"] })
            }
            // What was the same was not said again.
            let said = forge.said
            #expect(zip(said, said.dropFirst()).allSatisfy { $0 != $1 }, "\(said)")
        }
    }

    /// Another one may have said otherwise meanwhile.
    @Test func whoLeadsAgainSaysItAgain() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400])
        let forge = Forge()
        await world.run(Self.configuration) { controller in
            await keep(forge, controller) { _ in
                #expect(await eventually { forge.said == [["pi-1/Setting/mtu"]] })
                await controller.setLeading(false)
                await controller.setLeading(true)
                #expect(await eventually { forge.said == [["pi-1/Setting/mtu"], ["pi-1/Setting/mtu"]] })
            }
        }
    }

    @Test func aForgeThatIsAwayDelaysNothingAndIsToldInTheEnd() async {
        let world = ScriptedWorld()
        world.push("a1", ["pi-1/mtu": 1400, "pi-9/mtu": 1400])
        let forge = Forge()
        forge.state.withLock { $0.failures = (0..<5).map { ForgeFailure(.unavailable, "no answer \($0)") } }
        await world.run(Self.configuration) { controller in
            await keep(forge, controller) { keeper in
                #expect(await eventually { forge.state.withLock { $0.asked } > 1 })
                let problem = await keeper.status().problem
                #expect(problem?.hasPrefix("no answer") == true || problem == nil && forge.said.count == 1)
                world.change("pi-9", "mtu", to: 9)
                #expect(await eventually { world.state.withLock { $0.settings["pi-9"]?["mtu"] } == 1400 })
                #expect(await eventually { forge.said == [["pi-1/Setting/mtu"]] })
                let asked = forge.state.withLock { $0.asked }
                #expect(asked == 6)
                #expect(await eventually { await keeper.status().problem == nil })
                let status = await keeper.status()
                #expect(status.differences == 1 && status.lastSaid != nil)
            }
        }
    }
}
