package ensemble;

import java.nio.file.Path;
import java.util.Map;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * {@code StartNode CONFIG} runs a node. The distribution's own program does more before that (a keystore, limits on what code
 * may do, a refusal to be root), for which it needs files that are in no published jar.
 */
public final class StartNode {
  private StartNode() {}

  public static void main(String[] args) {
    try {
      Path config = Path.of(args[0]);
      Settings settings = Settings.builder().loadFromPath(config.resolve("elasticsearch.yml")).build();
      LogConfigurator.setNodeName(Node.NODE_NAME_SETTING.get(settings));
      Environment environment = new Environment(settings, config);
      LogConfigurator.configure(environment, true);
      PluginsLoader plugins =
          PluginsLoader.createPluginsLoader(
              PluginsLoader.loadModulesBundles(environment.modulesDir()),
              PluginsLoader.loadPluginsBundles(environment.pluginsDir()),
              Map.of(),
              false);
      Node node = new Node(environment, plugins);
      Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
      node.start();
      Thread.currentThread().join();
    } catch (Throwable error) {
      error.printStackTrace();
      // Threads that were started already would keep the process alive.
      Runtime.getRuntime().halt(1);
    }
  }

  private static void close(Node node) {
    try {
      node.close();
    } catch (Exception error) {
      error.printStackTrace();
    }
  }
}
