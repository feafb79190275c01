# Homebrew's formula. `make dist` fills in the address and the checksum of the source archive and writes it to
# dist/codex-supervisor.rb. Homebrew installs what is in a tap alone: docs/installation.md says how.
class CodexSupervisor < Formula
  desc "Codex child for every Claude Code session that never loses an answer"
  homepage "@HOMEPAGE@"
  url "@URL@"
  sha256 "@SHA256@"
  license "MIT"

  depends_on "python@3.13"

  def install
    # An environment of its own, with the versions that the tests ran with.
    system Formula["python@3.13"].opt_bin/"python3.13", "-m", "venv", libexec
    system libexec/"bin/python", "-m", "pip", "install", "--constraint", "constraints.txt", ".[gateway,gateway-proxy]"
    bin.install_symlink %w[codex-supervisor codexctl codex-gateway claude-codex].map { |name| libexec/"bin"/name }
    %w[codex-supervisor codexctl codex-gateway].each do |name|
      generate_completions_from_executable(bin/name, "completion", shells: [:bash, :zsh, :fish])
    end
  end

  # `brew services start codex-supervisor`. `codex-supervisor install` does the same with the PATH of your shell.
  # A formula has one service: the gateway's is `codex-gateway install`.
  service do
    run [opt_bin/"codex-supervisor", "serve-under-launchd"]
    keep_alive successful_exit: false
    throttle_interval 10
    process_type :interactive
    environment_variables PATH: std_service_path_env
    log_path var/"log/codex-supervisor.log"
    error_log_path var/"log/codex-supervisor.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/codex-supervisor --version")
    assert_match version.to_s, shell_output("#{bin}/codexctl --version")
    assert_match version.to_s, shell_output("#{bin}/codex-gateway --version")
  end
end
