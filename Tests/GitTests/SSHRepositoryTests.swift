import Foundation
import Git
import Testing

/// Repositories over ssh, at a real sshd of the test's own.
struct SSHRepositoryTests {
    /// - Parameter key: The host key that is known for it.
    private func serve(
        _ shop: Workshop,
        known: String? = nil,
        force: String? = nil,
        _ body: (_ port: Int, _ change: @escaping (inout GitOptions) -> Void) async throws -> Void
    ) async throws {
        _ = try await shop.key("login")
        let host = try await shop.key("host")
        try shop.write("authorized", try String(contentsOfFile: "\(shop.folder)/login.pub", encoding: .utf8))
        try shop.write("empty", "")
        let free = "import socket;s=socket.socket();s.bind((\"127.0.0.1\",0));print(s.getsockname()[1])"
        let forced = force.map { " -o ForceCommand='\($0)'" } ?? ""
        let sshd = """
            port=$(python3 -c '\(free)')
            unshare -m sh -c 'mount -t tmpfs none /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -f "$1/empty" -h "$1/host" -p "$2" \
            -o ListenAddress=127.0.0.1 -o AuthorizedKeysFile="$1/authorized" -o StrictModes=no -o UsePAM=no -o PidFile=none\(forced.replacing("'", with: "\""))' \
            sh '\(shop.folder)' $port >/dev/null 2>"\(shop.folder)/sshd.log" & sshd=$!
            until bash -c "exec 3<>/dev/tcp/127.0.0.1/$port" 2>/dev/null; do kill -0 $sshd || exit 1; sleep 0.05; done
            echo $port
            cat >/dev/null
            kill $sshd
            """
        try await withServer(["sh", "-c", sshd]) { port in
            try shop.write("known", "[127.0.0.1]:\(port) \(known ?? host)\n")
            let folder = shop.folder
            try await body(port) {
                $0.ssh.identityFile = "\(folder)/login"
                $0.ssh.knownHostsFile = "\(folder)/known"
                $0.ssh.configFile = "\(folder)/empty"
            }
        }
    }

    @Test func readsThroughOurOwnSSH() async throws {
        let shop = try Workshop()
        let first = try await shop.repository()
        try await serve(shop) { port, change in
            let location = GitLocation(url: "ssh://root@127.0.0.1:\(port)\(shop.folder)/specs.git", path: "state")
            #expect(try await shop.read(location, change).tree?.texts == ["state/a.yaml=a"])
            #expect(try await shop.read(location, unless: first, change).unchanged == first)
            let second = try await shop.push("specs", ["state/a.yaml": "b"])
            #expect(try await shop.read(location, unless: first, last: first, change).tree?.commit == second)
        }
    }

    @Test func takesPathsThatAreNoWords() async throws {
        let shop = try Workshop()
        try await shop.repository("it's a; touch pwned! $(touch pwned)")
        try await serve(shop) { port, change in
            let path = "\(shop.folder)/it's%20a;%20touch%20pwned!%20$(touch%20pwned).git"
            let tree = try await shop.read(GitLocation(url: "ssh://root@127.0.0.1:\(port)\(path)"), change).tree
            #expect(tree?.texts == ["state/a.yaml=a"])
            #expect(!FileManager.default.fileExists(atPath: "/root/pwned"))
        }
    }

    /// More than the window, so that the server is made to wait and goes on.
    @Test func readsWhatIsLarge() async throws {
        let shop = try Workshop()
        try await shop.repository()
        try await shop.run("sh", "-c", "head -c 20000000 /dev/urandom > specs/random.bin")
        let commit = try await shop.push()
        try await serve(shop) { port, change in
            let location = GitLocation(url: "ssh://root@127.0.0.1:\(port)\(shop.folder)/specs.git", path: "state")
            let tree = try await shop.read(location, change).tree
            #expect(tree?.commit == commit)
        }
    }

    @Test func anotherHostKeyEndsIt() async throws {
        let shop = try Workshop()
        try await shop.repository()
        let other = try await shop.key("other")
        try await serve(shop, known: other) { port, change in
            let location = GitLocation(url: "ssh://root@127.0.0.1:\(port)\(shop.folder)/specs.git")
            let refused = await failure { () async throws(GitFailure) in try await shop.read(location, change) }
            #expect(refused?.cause == .denied && refused?.message.contains("host key") == true, "\(String(describing: refused))")
        }
    }

    @Test func saysWhatTheServerSays() async throws {
        let shop = try Workshop()
        try await shop.repository()
        try await serve(shop) { port, change in
            let nowhere = GitLocation(url: "ssh://root@127.0.0.1:\(port)/nowhere.git")
            let missing = await failure { () async throws(GitFailure) in try await shop.read(nowhere, change) }
            #expect(
                missing?.cause == .denied && missing?.message.contains("does not appear to be a git repository") == true,
                "\(String(describing: missing))"
            )
            let somebody = GitLocation(url: "ssh://root@127.0.0.1:\(port)\(shop.folder)/specs.git")
            let denied = await failure { () async throws(GitFailure) in
                try await shop.read(somebody) {
                    change(&$0)
                    $0.ssh.identityFile = "\(shop.folder)/host"
                }
            }
            #expect(denied?.cause == .denied, "\(String(describing: denied))")
        }
    }

    @Test(arguments: [
        ("exec cat >/dev/null", GitFailure.Cause.timedOut, "within 3 s"), ("cat /dev/urandom", .unreachable, ""), ("exit 0", .unreachable, ""),
        ("echo no >&2; exit 9", .denied, "no"),
    ])
    func endsWhateverTheServerDoes(command: String, cause: GitFailure.Cause, words: String) async throws {
        let shop = try Workshop()
        try await serve(shop, force: command) { port, change in
            let location = GitLocation(url: "ssh://root@127.0.0.1:\(port)/x.git")
            let failure = await failure { () async throws(GitFailure) in
                try await shop.read(location) {
                    change(&$0)
                    if cause == .timedOut { $0.timeout = .seconds(3) }
                }
            }
            #expect(failure.is(cause, words), "\(command): \(String(describing: failure))")
        }
    }
}
