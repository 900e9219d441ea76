ftdemo new-term "Sheet bend"
